"""What each role may do in AWS, by the resource: what our code calls, and what Lambda and Scheduler do in its name."""

CALLED = {
    "worker": {
        "Table": {
            "dynamodb:BatchGetItem",
            "dynamodb:BatchWriteItem",
            "dynamodb:DeleteItem",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:Query",
            "dynamodb:UpdateItem",
        },
        "Table/index/active": {"dynamodb:Query"},
        "Table/index/runs": {"dynamodb:Query"},
        "Queues": {"sqs:ChangeMessageVisibility", "sqs:SendMessage"},
        "Bucket/*": {"s3:DeleteObject", "s3:GetObject", "s3:PutObject"},
        "Bucket": {"s3:ListBucket"},
        "TimerGroup/*": {"scheduler:CreateSchedule"},
        "Key": {"kms:Decrypt", "kms:GenerateDataKey"},
    },
    "receiver": {
        "Table": {"dynamodb:GetItem", "dynamodb:PutItem"},
        "FlowQueue": {"sqs:SendMessage"},
        "Bucket/*": {"s3:PutObject"},
        "Key": {"kms:GenerateDataKey"},
    },
}
