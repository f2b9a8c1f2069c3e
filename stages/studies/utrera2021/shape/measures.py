"""What is measured of a source on images whose shape is of one class and whose texture is of another: the names of the values."""

SHAPE, TEXTURE, BIAS, ACCURACY = "shape", "texture", "shape_bias", "accuracy"
