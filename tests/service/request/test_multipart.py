"""Multipart forms: known answers, a round trip, and damaged forms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadForm
from service.request.multipart import FormField, parse_form

CONTENT_TYPE = "multipart/form-data; boundary=edge"
DISPOSITION = b'Content-Disposition: form-data; name="image"'


def part(data, *headers):
    return b"\r\n".join((b"--edge", *(headers or (DISPOSITION,)), b"", data, b""))


@pytest.mark.parametrize(
    "body",
    [
        part(b"data") + b"--edge--\r\n",
        part(b"data") + b"--edge--",
        b"preamble\r\n" + part(b"data") + b"--edge--\r\nepilogue",
        part(b"data").replace(b"--edge\r\n", b"--edge \t\r\n") + b"--edge--\r\n",
        part(b"data", b"X-Other: 1", DISPOSITION) + b"--edge--\r\n",
        part(b"data", b"content-disposition:form-data; name=image; filename=a.jpg") + b"--edge--\r\n",
    ],
    ids=["usual", "no last line end", "preamble and epilogue", "padding", "another header", "no quotes"],
)
def test_a_valid_form_is_parsed(body):
    assert parse_form(CONTENT_TYPE, body) == [FormField("image", b"data")]


@pytest.mark.parametrize("data", [b"", b"\r\n", b"\r\n--edg", b"--edg", b"\r\n--", b"\r\n--edgE\r\n", b"\r\r\n-\r\n--ed\r\n--edg" * 1000])
def test_data_that_resembles_a_boundary_is_kept(data):
    body = part(data) + part(b"next") + b"--edge--\r\n"
    assert parse_form(CONTENT_TYPE, body) == [FormField("image", data), FormField("image", b"next")]


@given(st.lists(st.tuples(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.binary(max_size=200)), max_size=16))
def test_a_written_form_is_read_back(fields):
    fields = [(name, data.replace(b"edge", b"")) for name, data in fields]
    body = b"".join(part(data, b'Content-Disposition: form-data; name="%s"' % name.encode()) for name, data in fields)
    assert [(field.name, field.data) for field in parse_form(CONTENT_TYPE, body + b"--edge--\r\n")] == fields


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the request has no body"),
        (b"--other--", "does not occur"),
        (part(b"data").replace(b"\r\n", b"\n") + b"\n--edge--\n", "End each line of a header and of a boundary with CR LF"),
        (b"--edge", "truncated"),
        (part(b"data"), "truncated"),
        (part(b"data") + b"--edge", "truncated"),
        (b"--edgeX\r\n" + part(b"data") + b"--edge--", "unexpected bytes"),
        (part(b"x") * 17 + b"--edge--", "more than 16 parts"),
        (part(b"x", b"X: y") + b"--edge--", "has no name"),
        (part(b"x", *[b"X: y"] * 9) + b"--edge--", "more than"),
        (part(b"x", b"X: " + b"y" * 5000) + b"--edge--", "more than"),
        (part(b"x", DISPOSITION + b'; filename="' + b";" * 4000 + b'"') + b"--edge--", "semicolons"),
        (b"--edge\r\n" + DISPOSITION + b"\r\n--edge--", "no end"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_damaged_form_is_refused(body, message):
    with pytest.raises(BadForm, match=message):
        parse_form(CONTENT_TYPE, body)


def test_a_content_type_with_many_parameters_is_refused():
    with pytest.raises(BadForm, match="semicolons"):
        parse_form('multipart/form-data; boundary="' + ";" * 15_000, b"")
