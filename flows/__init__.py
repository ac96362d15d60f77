"""What runs: one flow a file, whose body reads like the picture in the README."""
