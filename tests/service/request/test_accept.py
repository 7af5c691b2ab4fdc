"""Choice of the media type that the Accept header prefers."""

import pytest

from service.request.accept import preferred_media_type


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "image/jpeg"),
        ("*/*", "image/jpeg"),
        ("image/*", "image/jpeg"),
        ("application/json", "image/jpeg"),
        ("image/jpeg", "image/jpeg"),
        ("image/png", "image/png"),
        ("IMAGE/PNG", "image/png"),
        ("image/png, */*", "image/png"),
        ("image/png, image/jpeg", "image/jpeg"),
        ("image/jpeg;q=0.5, image/png;q=0.4", "image/jpeg"),
        ("image/jpeg;q=0.4, image/png;q=0.5", "image/png"),
        ("image/jpeg;q=0, */*", "image/png"),
        ("image/png;q=0", "image/jpeg"),
        ("image/*;q=0.2, image/png;q=0.1", "image/jpeg"),
        ("image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", "image/png"),
        ("image/png;q=much", "image/jpeg"),
        ("image/png ; q=0.9 , image/jpeg ; q=0.8", "image/png"),
        (",;,q=1;;", "image/jpeg"),
    ],
)
def test_the_media_type_with_the_greatest_weight_is_chosen(accept, chosen):
    assert preferred_media_type(accept, ("image/jpeg", "image/png")) == chosen
