"""What the SAM template says, in the words of the Terraform module: each of its resources as the HCL that there has to be,
and each table of locals. Whoever changes one of both hears of it here."""

import json

from tests.infra.sam_words import RESOURCES, dimensions, document, keys, one_of, said, snake, tags

ROLES = {"WorkerRole": "worker", "ReceiverRole": "receiver", "TimerRole": "timers", "TickRole": "ticks"}

ALL = '[for one in local.{role}_key : one if var.kms_key_arn != ""]'


class Sam:
    """The template; each method takes what it knows of a type, and what is left over is an error."""

    def __init__(self, template):
        self.template = template
        self.resources = {}
        self.locals = {"trusts": {}, "consumed": {}, "alarms": {}}
        for name, one in template["Resources"].items():
            left = dict(one["Properties"])
            getattr(self, one["Type"].rpartition("AWS::")[2].replace("::", ""))(name, left)
            assert left == {}, f"{name}: {left} is not compared"

    def put(self, kind, label, /, **body):
        assert (kind, label) not in self.resources
        self.resources[kind, label] = body

    def DynamoDBTable(self, name, left):
        indexes = [
            {
                "name": index["IndexName"],
                **keys(index["KeySchema"]),
                "projection_type": index["Projection"]["ProjectionType"],
                "non_key_attributes": index["Projection"]["NonKeyAttributes"],
            }
            for index in left.pop("GlobalSecondaryIndexes")
        ]
        attributes = left.pop("AttributeDefinitions")
        # What SAM keeps by DeletionPolicy is kept here unless it is told otherwise.
        assert left.pop("DeletionProtectionEnabled") is True
        expiry = left.pop("TimeToLiveSpecification")
        recovery = left.pop("PointInTimeRecoverySpecification")["PointInTimeRecoveryEnabled"]
        self.put(
            "aws_dynamodb_table",
            "runs",
            name="${var.name}-runs",
            billing_mode=left.pop("BillingMode"),
            deletion_protection_enabled="${var.deletion_protection}",
            **keys(left.pop("KeySchema")),
            tags=tags(left),
            point_in_time_recovery=[{"enabled": recovery}],
            server_side_encryption=[{"enabled": left.pop("SSESpecification")["SSEEnabled"]}],
            attribute=[{"name": one["AttributeName"], "type": one["AttributeType"]} for one in attributes],
            global_secondary_index=indexes,
            ttl=[{"attribute_name": expiry["AttributeName"], "enabled": expiry["Enabled"]}],
        )

    def S3Bucket(self, name, left):
        bucket = {"bucket": "${aws_s3_bucket.objects.id}"}
        self.put(
            "aws_s3_bucket",
            "objects",
            bucket_prefix="${var.name}-",
            force_destroy="${!var.deletion_protection}",
            tags=tags(left),
        )
        (sealed,) = left.pop("BucketEncryption")["ServerSideEncryptionConfiguration"]
        algorithm = {"sse_algorithm": sealed["ServerSideEncryptionByDefault"]["SSEAlgorithm"]}
        self.put(
            "aws_s3_bucket_server_side_encryption_configuration",
            "objects",
            **bucket,
            rule=[{"apply_server_side_encryption_by_default": [algorithm]}],
        )
        (owned,) = left.pop("OwnershipControls")["Rules"]
        rule = [{"object_ownership": owned["ObjectOwnership"]}]
        self.put("aws_s3_bucket_ownership_controls", "objects", **bucket, rule=rule)
        blocked = left.pop("PublicAccessBlockConfiguration")
        self.put(
            "aws_s3_bucket_public_access_block", "objects", **bucket, **{snake(key): on for key, on in blocked.items()}
        )
        (life,) = left.pop("LifecycleConfiguration")["Rules"]
        aborted = life.pop("AbortIncompleteMultipartUpload")["DaysAfterInitiation"]
        rule = {
            "id": life["Id"],
            "status": life["Status"],
            "filter": [{}],
            "expiration": [{"days": said(life["ExpirationInDays"])}],
            "abort_incomplete_multipart_upload": [{"days_after_initiation": aborted}],
        }
        self.put("aws_s3_bucket_lifecycle_configuration", "objects", **bucket, rule=[rule])

    def S3BucketPolicy(self, name, left):
        self.locals["bucket_statements"] = said(left.pop("PolicyDocument")["Statement"])
        self.put(
            "aws_s3_bucket_policy",
            "objects",
            bucket=said(left.pop("Bucket")),
            policy=document("local.bucket_statements"),
        )

    def SQSQueue(self, name, left):
        body = {
            "name": said(left.pop("QueueName")),
            "message_retention_seconds": left.pop("MessageRetentionPeriod"),
            "sqs_managed_sse_enabled": left.pop("SqsManagedSseEnabled"),
            "tags": tags(left),
        }
        if "VisibilityTimeout" in left:
            body["visibility_timeout_seconds"] = left.pop("VisibilityTimeout")
        if "RedrivePolicy" in left:
            redrive = left.pop("RedrivePolicy")
            dead, count = said(redrive["deadLetterTargetArn"])[2:-1], redrive["maxReceiveCount"]
            body["redrive_policy"] = f"${{jsonencode({{deadLetterTargetArn = {dead}, maxReceiveCount = {count}}})}}"
        self.put("aws_sqs_queue", RESOURCES[name].partition(".")[2], **body)

    def SchedulerScheduleGroup(self, name, left):
        label = RESOURCES[name].partition(".")[2]
        self.put("aws_scheduler_schedule_group", label, name=said(left.pop("Name")), tags=tags(left))

    def SchedulerSchedule(self, name, left):
        target = left.pop("Target")
        retry = target["RetryPolicy"]
        self.put(
            "aws_scheduler_schedule",
            snake(name),
            name=snake(name),
            group_name=said(left.pop("GroupName")),
            schedule_expression=left.pop("ScheduleExpression"),
            flexible_time_window=[{"mode": left.pop("FlexibleTimeWindow")["Mode"]}],
            target=[
                {
                    "arn": said(target["Arn"]),
                    "role_arn": said(target["RoleArn"]),
                    "input": target["Input"],
                    "retry_policy": [{snake(key): value for key, value in retry.items()}],
                    "dead_letter_config": [{"arn": said(target["DeadLetterConfig"]["Arn"])}],
                }
            ],
        )

    def IAMRole(self, name, left):
        role = ROLES[name]
        body = {
            "for_each": "${local.trusts}",
            "name": "${var.name}-${each.key}",
            "assume_role_policy": document("each.value"),
            "permissions_boundary": said(left.pop("PermissionsBoundary")),
        }
        assert self.resources.setdefault(("aws_iam_role", "role"), body) == body
        self.locals["trusts"][role] = said(left.pop("AssumeRolePolicyDocument")["Statement"])
        (policy,) = left.pop("Policies")
        whole = policy["PolicyDocument"]["Statement"]
        self.locals[f"{role}_statements"] = [said(one) for one in whole if "Fn::If" not in one]
        statements = f"local.{role}_statements"
        if sealed := [one["Fn::If"][1] for one in whole if "Fn::If" in one]:
            self.locals[f"{role}_key"] = said(sealed)
            statements = f"concat({statements}, {ALL.format(role=role)})"
        address = f'${{aws_iam_role.role["{role}"].id}}'
        self.put("aws_iam_role_policy", role, name=policy["PolicyName"], role=address, policy=document(statements))
        if managed := left.pop("ManagedPolicyArns", None):
            (arn,) = managed["Fn::If"][1]
            network = {
                "for_each": '${length(var.subnet_ids) == 0 ? toset([]) : toset(["worker", "receiver"])}',
                "role": "${aws_iam_role.role[each.key].name}",
                "policy_arn": said(arn),
            }
            assert self.resources.setdefault(("aws_iam_role_policy_attachment", "network"), network) == network
            assert role in network["for_each"]

    def LambdaFunction(self, name, left):
        role = name.lower()
        left.pop("Code")
        variables = left.pop("Environment")["Variables"]
        only_with = {key for key, one in variables.items() if (one_of(one) or [0, 0, 0])[2] == {"Ref": "AWS::NoValue"}}
        self.locals[f"{role}_environment"] = {
            key: "${local.template}" if key == "WDK_AWS_TEMPLATE" else said(one)
            for key, one in variables.items()
            if key not in only_with
        }
        self.locals["template"] = variables["WDK_AWS_TEMPLATE"]
        merged = {
            ("worker", frozenset({"WDK_AWS_KMS_KEY_ID"})): "local.with_key, var.environment",
            ("receiver", frozenset({"WDK_AWS_KMS_KEY_ID", "WDK_PUBLIC_URL"})): "local.with_public_url, local.with_key",
        }[role, frozenset(only_with)]
        network = {key: f"${{var.{key}}}" for key in ("subnet_ids", "security_group_ids")}
        assert {snake(key) for key in left.pop("VpcConfig")["Fn::If"][1]} == set(network)
        body = {
            "function_name": f"${{var.name}}-{role}",
            "description": left.pop("Description"),
            "role": said(left.pop("Role")),
            "filename": "${var.package}",
            "source_code_hash": "${filebase64sha256(var.package)}",
            "handler": left.pop("Handler"),
            "runtime": said(left.pop("Runtime")),
            "architectures": said(left.pop("Architectures")),
            "memory_size": said(left.pop("MemorySize")),
            "timeout": said(left.pop("Timeout")),
            "reserved_concurrent_executions": said(left.pop("ReservedConcurrentExecutions")),
            "tags": tags(left),
            "environment": [{"variables": f"${{merge(local.{role}_environment, {merged})}}"}],
            "logging_config": [{"log_format": "Text", "log_group": said(left.pop("LoggingConfig")["LogGroup"])}],
            "dynamic": [{"vpc_config": {"for_each": "${local.networks}", "content": [network]}}],
        }
        if "DeadLetterConfig" in left:
            body["dead_letter_config"] = [{"target_arn": said(left.pop("DeadLetterConfig")["TargetArn"])}]
        self.put("aws_lambda_function", role, **body)
        if loop := left.pop("RecursiveLoop", None):
            named = {"function_name": said({"Ref": name}), "recursive_loop": loop}
            self.put("aws_lambda_function_recursion_config", role, **named)

    def LambdaEventInvokeConfig(self, name, left):
        assert left.pop("DestinationConfig") == {}
        body = {snake(key): said(left.pop(key)) for key in list(left)}
        self.put("aws_lambda_function_event_invoke_config", "worker", **body)

    def LambdaUrl(self, name, left):
        self.put(
            "aws_lambda_function_url",
            name.removesuffix("Url").lower(),
            function_name=said(left.pop("TargetFunctionArn")),
            authorization_type=left.pop("AuthType"),
            invoke_mode=left.pop("InvokeMode"),
        )

    def LambdaPermission(self, name, left):
        if "InvokedViaFunctionUrl" in left:
            self.locals["by_url"] = {key: said(left.pop(key)) for key in list(left)}
            made = '{Permission = {Type = "AWS::Lambda::Permission", Properties = local.by_url}}'
            template = f"${{jsonencode({{Resources = {made}}})}}"
            self.put("aws_cloudformation_stack", "public", name="${var.name}-public-url", template_body=template)
            return
        body = {snake(key): said(left.pop(key)) for key in list(left)}
        self.put("aws_lambda_permission", "public", statement_id="public-url", **body)

    def LambdaEventSourceMapping(self, name, left):
        self.locals["consumed"][snake(name.removeprefix("Worker"))] = {
            "queue": said(left.pop("EventSourceArn")),
            "at_once": said(left.pop("ScalingConfig")["MaximumConcurrency"]),
        }
        body = {
            "for_each": "${local.consumed}",
            "event_source_arn": "${each.value.queue}",
            "scaling_config": [{"maximum_concurrency": "${each.value.at_once}"}],
            **{snake(key): said(left.pop(key)) for key in list(left)},
        }
        assert self.resources.setdefault(("aws_lambda_event_source_mapping", "queue"), body) == body

    def LogsLogGroup(self, name, left):
        body = {"name": said(left.pop("LogGroupName")), "retention_in_days": "${var.log_days}"}
        assert left.pop("RetentionInDays") == {"Ref": "LogDays"}
        self.put("aws_cloudwatch_log_group", name.removesuffix("Logs").lower(), **body)

    def LogsMetricFilter(self, name, left):
        (counted,) = left.pop("MetricTransformations")
        self.put(
            "aws_cloudwatch_log_metric_filter",
            snake(name),
            count="${var.alarms ? 1 : 0}",
            name=f"${{var.name}}-{snake(name).replace('_', '-')}",
            log_group_name=said(left.pop("LogGroupName")),
            pattern=left.pop("FilterPattern"),
            metric_transformation=[{snake(key.removeprefix("Metric")): said(one) for key, one in counted.items()}],
        )

    def CloudWatchAlarm(self, name, left):
        label = snake(name.removesuffix("Alarm"))
        common = {
            "comparison_operator": left.pop("ComparisonOperator"),
            "treat_missing_data": left.pop("TreatMissingData"),
            "alarm_actions": said(left.pop("AlarmActions")),
        }
        if "Metrics" in left:
            self._computed(label, common, left)
            return
        self.locals["alarms"][label] = {
            "says": left.pop("AlarmDescription"),
            "namespace": left.pop("Namespace"),
            "metric": said(left.pop("MetricName")),
            "dimensions": dimensions(left.pop("Dimensions", [])),
            "statistic": left.pop("Statistic"),
            "period": left.pop("Period"),
            "evaluated": left.pop("EvaluationPeriods"),
            "to_alarm": left.pop("DatapointsToAlarm", None),
            "threshold": left.pop("Threshold"),
        }
        body = {
            "for_each": "${var.alarms ? local.alarms : {}}",
            "alarm_name": "${var.name}-${each.key}",
            "alarm_description": "${each.value.says}",
            "metric_name": "${each.value.metric}",
            "evaluation_periods": "${each.value.evaluated}",
            "datapoints_to_alarm": "${each.value.to_alarm}",
            **{
                key: f"${{each.value.{key}}}" for key in ("namespace", "dimensions", "statistic", "period", "threshold")
            },
            **common,
        }
        assert self.resources.setdefault(("aws_cloudwatch_metric_alarm", "alarm"), body) == body

    def _computed(self, label, common, left):
        table = {"old_messages": "waiting", "spend": "spent"}[label]
        (shown, *measured) = left.pop("Metrics")
        self.locals[table] = {}
        for one in measured:
            stat, metric = one["MetricStat"], one["MetricStat"]["Metric"]
            assert one["ReturnData"] is False
            self.locals[table][one["Id"]] = {
                "stat": stat["Stat"],
                "period": stat["Period"],
                "namespace": metric["Namespace"],
                "metric": metric["MetricName"],
                "dimensions": dimensions(metric["Dimensions"]),
            }
        of = {key: f"${{metric_query.value.{key}}}" for key in ("stat", "period", "namespace", "dimensions")}
        content = {
            "id": "${metric_query.key}",
            "return_data": False,
            "metric": [{**of, "metric_name": "${metric_query.value.metric}"}],
        }
        self.put(
            "aws_cloudwatch_metric_alarm",
            label,
            count="${var.alarms ? 1 : 0}",
            alarm_name=f"${{var.name}}-{label}",
            alarm_description=left.pop("AlarmDescription"),
            evaluation_periods=left.pop("EvaluationPeriods"),
            threshold=said(left.pop("Threshold")),
            metric_query=[{**{key.lower(): said(one) for key, one in shown.items()}, "return_data": True}],
            dynamic=[{"metric_query": {"for_each": f"${{local.{table}}}", "content": [content]}}],
            **common,
        )


OURS = {"depends_on", "lifecycle"}
"""The order in which things are made, and what is looked at before; CloudFormation has ways of its own."""


def differences(template, made):
    """Each thing that the template and the module say otherwise, by its address."""
    sam = Sam(json.loads(json.dumps(template)))
    found = {(kind, name): body for kind, named in made.resources.items() for name, body in named.items()}
    found.pop(("aws_scheduler_schedule", "tick"), None)  # `wdk build aws` writes those into the template
    wrong = [".".join(key) for key in sam.resources.keys() ^ found.keys()]
    for key in sam.resources.keys() & found.keys():
        body = {name: one for name, one in found[key].items() if name not in OURS}
        wanted = sam.resources[key]
        wrong += [f"{'.'.join(key)}.{part}" for part in wanted.keys() | body if wanted.get(part) != body.get(part)]
    wrong += [f"local.{name}" for name, wanted in sam.locals.items() if made.locals.get(name) != wanted]
    return sorted(wrong)
