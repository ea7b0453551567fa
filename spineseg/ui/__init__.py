"""The page in the browser: the only part that uses Gradio, told before its import to send nothing to anyone."""

import os

from spineseg.ui.component_stubs import leave_out_stubs

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(10**9))  # else a table of all events after each one
leave_out_stubs()
