"""WsgiDAV with one folder that anyone may write into."""

import os
from pathlib import Path

from wsgidav.wsgidav_app import WsgiDAVApp

folder = Path(os.environ["APP_FOLDER"]) / "shared"
folder.mkdir(exist_ok=True)
app = WsgiDAVApp(
    {
        "provider_mapping": {"/": str(folder)},
        "simple_dc": {"user_mapping": {"*": True}},
        "verbose": 1,
        # In a file, because two workers have to see the same ones.
        "lock_storage": {
            "class": "wsgidav.lock_man.lock_storage.LockStorageShelve",
            "kwargs": {"storage_path": f"{os.environ['APP_FOLDER']}/locks-{os.getpid()}"},
        },
    }
)
