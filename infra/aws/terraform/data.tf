# What outlives a deployment: the table and the bucket.

# Payloads are encrypted before they get here where there is a key (kms_key_arn). A key of the account on the table, on the
# bucket or on the queues would ask each caller for kms:Decrypt, the public receiver among them.
resource "aws_dynamodb_table" "runs" {
  #checkov:skip=CKV_AWS_119:a key on the table would let the receiver decrypt
  name                        = "${var.name}-runs"
  billing_mode                = "PAY_PER_REQUEST"
  deletion_protection_enabled = var.deletion_protection
  hash_key                    = "pk"
  range_key                   = "sk"
  tags                        = local.tags

  point_in_time_recovery {
    enabled = true
  }

  # The key that DynamoDB owns; it costs nothing and asks nobody for rights.
  server_side_encryption {
    enabled = false
  }

  attribute {
    name = "pk"
    type = "S"
  }
  attribute {
    name = "sk"
    type = "S"
  }
  attribute {
    name = "rs"
    type = "S"
  }
  attribute {
    name = "ra"
    type = "S"
  }
  attribute {
    name = "as"
    type = "S"
  }

  global_secondary_index {
    name               = "runs"
    hash_key           = "rs"
    range_key          = "ra"
    projection_type    = "INCLUDE"
    non_key_attributes = ["st", "w", "v", "e", "ct"]
  }
  global_secondary_index {
    name               = "active"
    hash_key           = "as"
    projection_type    = "INCLUDE"
    non_key_attributes = ["wb", "e", "g"]
  }

  ttl {
    attribute_name = "expires"
    enabled        = true
  }
}

resource "aws_s3_bucket" "objects" {
  #checkov:skip=CKV_AWS_18:a log of each access would cost more than the objects; CloudTrail has data events
  #checkov:skip=CKV_AWS_21:objects are written once; versions would keep what a run's removal takes away
  #checkov:skip=CKV_AWS_144:the table is in one region, too, and names what lies here
  #checkov:skip=CKV_AWS_145:a key on the bucket would let the receiver decrypt
  #checkov:skip=CKV2_AWS_62:nobody waits for an object; readers ask for the next one
  bucket_prefix = "${var.name}-"
  force_destroy = !var.deletion_protection
  tags          = local.tags
}

resource "aws_s3_bucket_server_side_encryption_configuration" "objects" {
  bucket = aws_s3_bucket.objects.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_ownership_controls" "objects" {
  bucket = aws_s3_bucket.objects.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "objects" {
  bucket                  = aws_s3_bucket.objects.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_lifecycle_configuration" "objects" {
  bucket = aws_s3_bucket.objects.id

  rule {
    id     = "wdk-cloud"
    status = "Enabled"
    filter {}

    expiration {
      days = local.object_days
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

locals {
  bucket_statements = [
    {
      Sid       = "OnlyEncryptedConnections"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.objects.arn, "${aws_s3_bucket.objects.arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    },
  ]
}

resource "aws_s3_bucket_policy" "objects" {
  bucket = aws_s3_bucket.objects.id
  policy = jsonencode({ Version = "2012-10-17", Statement = local.bucket_statements })

  depends_on = [aws_s3_bucket_public_access_block.objects]
}
