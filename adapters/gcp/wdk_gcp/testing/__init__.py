"""For tests of programs on the Google Cloud world: small servers that stand in for Google's, and a world on them.

Google's own client libraries talk to the servers, which bind to 127.0.0.1, keep everything in memory, and know no
credentials.
"""

from wdk_gcp.testing.deliveries import Attempt
from wdk_gcp.testing.environment import GcpEnv, cloud_run_env
from wdk_gcp.testing.firestore import FirestoreServer
from wdk_gcp.testing.indexes import Index, Indexes
from wdk_gcp.testing.keys import CloudKmsServer
from wdk_gcp.testing.mischief import Fault, Mischief
from wdk_gcp.testing.resources import create_resources
from wdk_gcp.testing.storage import CloudStorageServer
from wdk_gcp.testing.tasks import CloudTasksServer, async_tasks_client, tasks_client
from wdk_gcp.testing.tokens import TokenSigner

__all__ = [
    "Attempt",
    "CloudKmsServer",
    "CloudStorageServer",
    "CloudTasksServer",
    "Fault",
    "FirestoreServer",
    "GcpEnv",
    "Index",
    "Indexes",
    "Mischief",
    "TokenSigner",
    "async_tasks_client",
    "cloud_run_env",
    "create_resources",
    "tasks_client",
]
