"""Names of export formats and of the precisions that they have."""

SAVED_MODEL, HUGGING_FACE, TFLITE, ONNX = FORMATS = ("savedmodel", "huggingface", "tflite", "onnx")
FLOAT32, FLOAT16, INT8 = PRECISIONS = ("float32", "float16", "int8")
# Format -> its precisions.
AVAILABLE = {
    SAVED_MODEL: (FLOAT32,),
    HUGGING_FACE: (FLOAT32, FLOAT16),
    TFLITE: PRECISIONS,
    ONNX: PRECISIONS,
}
# Formats whose weights can be stored without zeros, because this package loads them.
PACKED = (TFLITE, ONNX)
