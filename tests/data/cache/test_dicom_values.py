"""What the stored values of a DICOM file mean: rescaling, windows, tables, padding; against the formulas of part 3."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from ltmed.data.cache.decode import BadImageError, decode, decode_square
from ltmed.data.cache.dicom import is_dicom
from ltmed.data.cache.intensity import FIXED, RANGE, STORED, WINDOW, Intensity

pydicom = pytest.importorskip("pydicom")
S = 48
STORED_CT = np.linspace(0, 4095, S * S).reshape(S, S).astype(np.uint16)
HOUNSFIELD = STORED_CT.astype(np.float64) - 1024


def dicom(pixels: np.ndarray, bits: int, kind: str = "MONOCHROME2", *, preamble: bool = True, **tags: Any) -> bytes:
    """A file of uint8, int16 or uint16 [h, w] with the tags given."""
    file = pydicom.Dataset()
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = "1.2.3"
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID
    file.Rows, file.Columns = pixels.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, kind
    file.BitsAllocated, file.BitsStored, file.HighBit = 8 * pixels.itemsize, bits, bits - 1
    file.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in tags.items():
        setattr(file, name, value)
    file.PixelData = pixels.tobytes()
    out = io.BytesIO()
    file.save_as(out, enforce_file_format=True)
    return out.getvalue() if preamble else out.getvalue()[132:]


def ct(**tags: Any) -> bytes:
    return dicom(STORED_CT, 12, **{"RescaleSlope": 1, "RescaleIntercept": -1024, **tags})


def shown(data: bytes, option: Any = "auto", by: str | None = None) -> np.ndarray:
    actual = decode(data, S, Intensity.of(option))
    assert by is None or actual.scaled_by == by
    assert (actual.image[..., 0] == actual.image[..., 2]).all()
    return actual.image[..., 0]


def linear(values: np.ndarray, center: float, width: float) -> np.ndarray:
    """C.11.2.1.2.1, from 0 to 255."""
    y = ((values - (center - 0.5)) / (width - 1) + 0.5) * 255
    return np.where(
        values <= center - 0.5 - (width - 1) / 2, 0, np.where(values > center - 0.5 + (width - 1) / 2, 255, y)
    )


def ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip((values - low) / (high - low), 0, 1) * 255


def test_a_window_is_of_rescaled_values():
    actual = shown(ct(WindowCenter=40, WindowWidth=400), by=WINDOW)
    np.testing.assert_allclose(actual, linear(HOUNSFIELD, 40, 400), atol=1)
    # Of the stored values it would show -160 to 240 as 0 to 240, and 94 % of this slice white.
    assert 0.65 < (actual == 255).mean() < 0.72
    half = dicom(STORED_CT, 12, RescaleSlope=0.5, RescaleIntercept=-100, WindowCenter=300, WindowWidth=1000)
    np.testing.assert_allclose(shown(half), linear(STORED_CT * 0.5 - 100, 300, 1000), atol=1)


def test_an_image_that_fills_a_part_of_the_window_is_not_stretched():
    part = dicom(STORED_CT // 8 + 500, 12, WindowCenter=1000, WindowWidth=2000)
    actual = shown(part)
    np.testing.assert_allclose(actual, linear(STORED_CT // 8 + 500, 1000, 2000), atol=1)
    assert 60 < actual.min() < 70
    assert actual.max() < 135


def test_the_first_of_several_windows_counts():
    several = ct(WindowCenter=[40, -600], WindowWidth=[400, 1500])
    np.testing.assert_allclose(shown(several), linear(HOUNSFIELD, 40, 400), atol=1)


def test_a_sigmoid_window():
    actual = shown(ct(WindowCenter=40, WindowWidth=400, VOILUTFunction="SIGMOID"))
    np.testing.assert_allclose(actual, 255 / (1 + np.exp(-4 * (HOUNSFIELD - 40) / 400)), atol=1)


@pytest.mark.parametrize("tags", [{}, {"WindowCenter": 40, "WindowWidth": 0}, {"WindowCenter": 40}])
def test_without_a_window_the_range_of_the_image_counts(tags):
    np.testing.assert_allclose(shown(ct(**tags), by=RANGE), ramp(HOUNSFIELD, -1024, 3071), atol=1)
    with pytest.raises(BadImageError, match="no window"):
        shown(ct(**tags), "window")


def test_settings_over_the_tags():
    data = ct(WindowCenter=40, WindowWidth=400)
    np.testing.assert_allclose(shown(data, "range", RANGE), ramp(HOUNSFIELD, -1024, 3071), atol=1)
    np.testing.assert_allclose(shown(data, [-1000, 400], FIXED), ramp(HOUNSFIELD, -1000, 400), atol=1)
    assert decode(data, S).extremes == (-1024, 3071)


def test_signed_values():
    signed = (STORED_CT.astype(np.int16) - 2048).astype(np.int16)
    np.testing.assert_allclose(shown(dicom(signed, 16)), ramp(signed, -2048, 2047), atol=1)
    windowed = dicom(signed, 16, WindowCenter=0, WindowWidth=1000)
    np.testing.assert_allclose(shown(windowed), linear(signed, 0, 1000), atol=1)


def test_padding_does_not_count_in_the_range():
    pixels = STORED_CT.astype(np.int16)
    pixels[:4], pixels[4:6] = -2000, -1990
    inside = pixels[6:]
    actual = shown(dicom(pixels, 16, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1990))
    np.testing.assert_allclose(actual[6:], ramp(inside, inside.min(), inside.max()), atol=1)
    assert not actual[:6].any()
    assert shown(dicom(pixels, 16))[6:].min() > 60
    # Nothing but padding is no reason to fail.
    assert not shown(dicom(np.full((S, S), 7, np.int16), 16, PixelPaddingValue=7)).any()


def table(entries: np.ndarray, first: int, bits: int) -> Any:
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries.tolist())
    return pydicom.Sequence([item])


@pytest.mark.parametrize("first", [-500, (1 << 16) - 500], ids=["signed", "as unsigned"])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_table_of_grey_levels(bits, first):
    highest = (1 << bits) - 1
    entries = np.rint((np.arange(3000) / 2999) ** 2 * highest).astype(np.uint16)
    actual = shown(ct(VOILUTSequence=table(entries, first, bits), WindowCenter=40, WindowWidth=400), by=WINDOW)
    places = np.clip(HOUNSFIELD + 500, 0, 2999).astype(int)
    np.testing.assert_allclose(actual, entries[places] / highest * 255, atol=1)


def test_a_modality_table():
    entries = (np.arange(4096) * 3 + 5).astype(np.uint16)
    actual = shown(dicom(STORED_CT, 12, ModalityLUTSequence=table(entries, 0, 16), WindowCenter=3000, WindowWidth=4000))
    np.testing.assert_allclose(actual, linear(STORED_CT * 3.0 + 5, 3000, 4000), atol=1)


def test_inverted_grey_is_inverted_after_the_window():
    windowed: dict[str, Any] = {"WindowCenter": 1000, "WindowWidth": 800}
    one, two = (shown(dicom(STORED_CT, 12, f"MONOCHROME{n}", **windowed)).astype(int) for n in (1, 2))
    np.testing.assert_array_equal(one, 255 - two)


def test_palettes_are_looked_up():
    index = np.arange(S * S, dtype=np.uint8).reshape(S, S)
    rng = np.random.default_rng(0)
    red, green, blue = (rng.integers(0, 256, 256) for _ in range(3))
    tags: dict[str, Any] = {}
    for name, entries in (("Red", red), ("Green", green), ("Blue", blue)):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tags[f"{name}PaletteColorLookupTableData"] = (entries * 257).astype("<u2").tobytes()
    actual = decode_square(dicom(index, 8, "PALETTE COLOR", **tags), S)
    np.testing.assert_array_equal(actual, np.dstack([red[index], green[index], blue[index]]))


def test_enhanced_files_say_it_for_their_frame():
    rescale, window, shared, frame = (pydicom.Dataset() for _ in range(4))
    rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 1, -1024, "HU"
    window.WindowCenter, window.WindowWidth = 40, 400
    shared.PixelValueTransformationSequence = [rescale]
    frame.FrameVOILUTSequence = [window]
    data = dicom(
        STORED_CT, 12, SharedFunctionalGroupsSequence=[shared], PerFrameFunctionalGroupsSequence=[frame],
        NumberOfFrames=1,
    )  # fmt: skip
    np.testing.assert_allclose(shown(data, by=WINDOW), linear(HOUNSFIELD, 40, 400), atol=1)


def test_eight_bits_are_as_stored_unless_windows_are_chosen():
    pixels = (STORED_CT >> 5).astype(np.uint8)
    data = dicom(pixels, 8, WindowCenter=64, WindowWidth=128, RescaleSlope=1, RescaleIntercept=0)
    for option in ("auto", "range", [0, 50]):
        np.testing.assert_array_equal(shown(data, option, STORED), pixels)
    np.testing.assert_allclose(shown(data, "window", WINDOW), linear(pixels, 64, 128), atol=1)
    in_sixteen = dicom(pixels.astype(np.uint16), 8)
    np.testing.assert_array_equal(shown(in_sixteen, by=STORED), pixels)
    rescaled = dicom(pixels, 8, RescaleSlope=10, RescaleIntercept=-1024)
    np.testing.assert_allclose(shown(rescaled, [-1000, 200]), ramp(pixels * 10.0 - 1024, -1000, 200), atol=1)


def test_the_content_decides_also_without_a_preamble():
    data = ct(WindowCenter=40, WindowWidth=400)
    bare = dicom(
        STORED_CT, 12, preamble=False, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400
    )
    assert is_dicom(data)
    assert is_dicom(bare)
    assert not is_dicom(bare[:100])
    np.testing.assert_array_equal(shown(bare), shown(data))
