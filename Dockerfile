# The page in a container, on a CPU:
#   docker build -t spineseg . && docker run --rm -p 7860:7860 --read-only --tmpfs /tmp spineseg
# Models of one's own: -v /path/to/checkpoints:/models:ro -e SPINESEG_CHECKPOINT=/models/best.safetensors
FROM python:3.12-slim

RUN useradd --create-home spineseg
WORKDIR /app
COPY requirements.txt .
# For a much smaller image give PyTorch's index of wheels for CPUs: --build-arg PIP_EXTRA_INDEX_URL=...
ARG PIP_EXTRA_INDEX_URL
RUN pip install --no-cache-dir -r requirements.txt
COPY app.py .
COPY spineseg spineseg
COPY checkpoints checkpoints
COPY examples examples

USER spineseg
ENV GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=7860 HF_HOME=/tmp/hub PYTHONDONTWRITEBYTECODE=1
EXPOSE 7860
HEALTHCHECK --start-period=60s CMD python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:7860/')"
CMD ["python", "app.py"]
