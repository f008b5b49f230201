"""The AWS world of wdk-cloud: DynamoDB, SQS, EventBridge Scheduler and S3."""
