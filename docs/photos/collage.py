"""Make the third sample image of the web page: `python docs/photos/collage.py`. Needs scikit-image for the camera man and the horse."""

from pathlib import Path

from PIL import Image, ImageOps
from skimage import data

HERE = Path(__file__).resolve().parent
SIZE = (960, 640)
OUT = HERE.parents[1] / "service" / "web" / "samples" / "collage.jpg"


def main() -> None:
    """Combine five images, each cropped to its place."""
    cat, astronaut = (Image.open(HERE / name) for name in ("cat.jpg", "astronaut.jpg"))
    shape = Image.fromarray(data.horse())  # the horse is black
    horse = Image.composite(Image.new("RGB", shape.size, (200, 220, 240)), Image.new("RGB", shape.size, (60, 40, 25)), shape.convert("L"))
    places = {
        (0, 0, 550, 366): cat,
        (556, 0, 960, 404): astronaut,
        (0, 372, 274, 640): Image.fromarray(data.camera()).convert("RGB"),
        (280, 372, 550, 640): horse,
        (556, 410, 960, 640): ImageOps.mirror(cat),
    }
    collage = Image.new("RGB", SIZE, "white")
    for (left, top, right, bottom), picture in places.items():
        collage.paste(ImageOps.fit(picture, (right - left, bottom - top)), (left, top))
    collage.save(OUT, quality=85)


if __name__ == "__main__":
    main()
