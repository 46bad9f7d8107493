//! Headers that are read back as written, foreign ones, and the many that are refused.

use super::header::*;
use super::{Dims, Dtype, Spacing};
use crate::error::Fault;
use crate::provenance::Digest;
use crate::units::Micrometre;

const MHD: &str = "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 4 3 2\n\
                   ElementSpacing = 1 2 3.5\nElementType = MET_USHORT\nElementDataFile = a.raw\n";
const NHDR: &str = "NRRD0004\n# made by hand\ntype: unsigned short\ndimension: 3\nsizes: 4 3 2\n\
                    endian: big\nencoding: raw\ndata file: a.raw\n\n";

fn own(spacing: Spacing) -> Header {
    Header {
        dims: Dims::new(2, 3, 4).unwrap(),
        dtype: Dtype::U16,
        big_endian: false,
        spacing,
        slope: 1.2e-7,
        intercept: -1.5,
        unit: "1/cm".into(),
        offset: Offset::Bytes(0),
        data_file: "name with spaces.raw".into(),
        native: Some(Native { stage: "recon".into(), digest: Digest::of(b"x") }),
    }
}

#[test]
fn own_headers_are_read_back_as_they_were() {
    let odd = [Micrometre(1.33), Micrometre(0.1 + 0.2), Micrometre(1e-9)];
    for spacing in [Some(odd), Some([Micrometre(1.0); 3]), None] {
        for offset in [Offset::Bytes(0), Offset::Bytes(100), Offset::FromEnd] {
            for (dtype, big_endian) in [(Dtype::U8, false), (Dtype::U16, true), (Dtype::F32, false)] {
                let header = Header { offset, dtype, big_endian, ..own(spacing) };
                assert_eq!(parse_mhd(&header.to_mhd("n")).unwrap(), header);
                assert_eq!(parse_nhdr(&header.to_nhdr("n")).unwrap(), header);
            }
        }
    }
}

#[test]
fn the_text_is_the_one_that_other_readers_were_seen_to_accept() {
    let text = own(Some([Micrometre(1.33); 3])).to_mhd("n");
    let keys: Vec<&str> = text.lines().map(|l| l.split(" = ").next().unwrap()).collect();
    let (tags, last) = (keys.len() - 9, keys.len() - 1);
    let expected = "Comment ObjectType NDims BinaryData BinaryDataByteOrderMSB CompressedData TransformMatrix Offset \
                    CenterOfRotation AnatomicalOrientation ElementSpacing ElementSize DimSize \
                    ElementNumberOfChannels ElementType";
    assert_eq!(keys[..tags].join(" "), expected);
    assert_eq!((&keys[tags..last], keys[last]), (&TAGS[..], "ElementDataFile"));
    assert!(text.contains("\nElementSpacing = 1.33 1.33 1.33\n") && text.contains("\nDimSize = 4 3 2\n"), "{text}");
    let unknown = own(None).to_mhd("n");
    assert!(unknown.contains("ElementSpacing = 1 1 1\n") && unknown.contains("TomolithSpacing = unknown\n"));
}

#[test]
fn foreign_headers_give_what_they_state_and_nothing_more() {
    let header = parse_mhd(MHD).unwrap();
    assert_eq!((header.dims, header.dtype), (Dims::new(2, 3, 4).unwrap(), Dtype::U16));
    assert_eq!((header.spacing, header.slope, header.native.is_none()), (None, 1.0, true));
    let with_unit = parse_mhd(&MHD.replace("NDims", "DistanceUnits = mm\nNDims")).unwrap();
    assert_eq!(with_unit.spacing, Some([1e3, 2e3, 3.5e3].map(Micrometre)));
    let flat = MHD.replace("NDims = 3", "NDims = 2").replace("4 3 2", "4 3").replace("1 2 3.5", "1 2");
    assert_eq!(parse_mhd(&flat).unwrap().dims, Dims::new(1, 3, 4).unwrap());
    assert!(parse_mhd(&MHD.replace('\n', "\r\n")).is_ok());

    let header = parse_nhdr(NHDR).unwrap();
    assert_eq!((header.dims, header.big_endian, header.spacing), (Dims::new(2, 3, 4).unwrap(), true, None));
    let scaled = NHDR.replace("endian", "spacings: 1 2 3\nunits: \"nm\" \"um\" \"mm\"\nendian");
    assert_eq!(parse_nhdr(&scaled).unwrap().spacing, Some([1e-3, 2.0, 3e3].map(Micrometre)));
    let voxels = NHDR.replace("endian", "spacings: 1 2 3\nunits: \"a\" \"b\" \"c\"\nendian");
    assert_eq!(parse_nhdr(&voxels).unwrap().spacing, None);
}

/// What replaces what in a good header, and the fault that must follow.
#[test]
fn bad_mhd_headers_are_refused() {
    let digits = "9".repeat(300);
    let many: String = (0..MAX_KEYS).map(|i| format!("Key{i} = 1\n")).collect();
    let native = own(None).to_mhd("n");
    let cases: &[(&str, &str, &str)] = &[
        ("DimSize = 4 3 2", "DimSize = 4 0 2", "empty axis"),
        ("DimSize = 4 3 2", "DimSize = 4 -3 2", "DimSize"),
        ("DimSize = 4 3 2", "DimSize = 4 3", "DimSize"),
        ("DimSize = 4 3 2", "DimSize = 4 3 2 1", "DimSize"),
        ("DimSize = 4 3 2", "DimSize = 2000000 2000000 20000000", "too large"),
        ("DimSize = 4 3 2", "DimSize = 4294967296 4294967296 2", "too large"),
        ("DimSize = 4 3 2", &format!("DimSize = {digits} 1 1"), "DimSize"),
        ("DimSize = 4 3 2", "DimSize = 4.0 3 2", "DimSize"),
        ("DimSize = 4 3 2\n", "", "`DimSize` is missing"),
        ("NDims = 3", "NDims = 4", "2 or 3 axes"),
        ("1 2 3.5", "1 nan 1", "greater than 0"),
        ("1 2 3.5", "1 0 1", "greater than 0"),
        ("1 2 3.5", "1 -1 1", "greater than 0"),
        ("1 2 3.5", "1 inf 1", "greater than 0"),
        ("1 2 3.5", "1 1e999 1", "greater than 0"),
        ("1 2 3.5", "1 2 3.5\nElementSize = 1 1 1", "disagree"),
        ("NDims", "DimSize = 4 3 2\nNDims", "stands twice"),
        ("NDims", "a line\nNDims", "line 2"),
        ("BinaryData = True\n", "", "BinaryData"),
        ("BinaryData = True", "BinaryData = False", "BinaryData"),
        ("NDims", "CompressedData = True\nNDims", "CompressedData"),
        ("NDims", "ElementNumberOfChannels = 3\nNDims", "ElementNumberOfChannels"),
        ("NDims", "BinaryDataByteOrderMSB = maybe\nNDims", "True or False"),
        ("NDims", "BinaryDataByteOrderMSB = True\nElementByteOrderMSB = False\nNDims", "disagree"),
        ("NDims", "TransformMatrix = 0 1 0 1 0 0 0 0 1\nNDims", "identity"),
        ("NDims", "HeaderSize = -2\nNDims", "HeaderSize"),
        ("NDims", "HeaderSize = 1048577\nNDims", "HeaderSize"),
        ("NDims", &format!("{many}NDims"), "more than 256 keys"),
        ("NDims", "TomolithSchema = 1\nNDims", "is missing"),
        ("NDims", "TomolithScaleSlop = 1\nNDims", "not a known key"),
        ("MET_USHORT", "MET_DOUBLE", "MET_FLOAT"),
        ("a.raw\n", "a.raw\nNDims2 = 3\n", "not the last line"),
        ("ElementDataFile = a.raw", "ElementDataFile = LIST", "a list"),
        ("ElementDataFile = a.raw", "ElementDataFile = list 2", "a list"),
        ("ElementDataFile = a.raw", "ElementDataFile = LOCAL", "behind their header"),
        ("ElementDataFile = a.raw", "ElementDataFile = a%03d.raw 1 9 1", "a pattern"),
        ("ElementDataFile = a.raw", "ElementDataFile =", "no name"),
    ];
    let own_cases: &[(&str, &str, &str)] = &[
        ("Slope = 1.2e-7", "Slope = 0", "same value"),
        ("Slope = 1.2e-7", "Slope = nan", "not a finite number"),
        ("Schema = 1", "Schema = 2", "schema 1"),
        ("Spacing = unknown", "Spacing = known?", "does not agree"),
        ("ElementSpacing = 1 1 1\nElementSize = 1 1 1", "ElementSpacing = 2 1 1", "does not agree"),
        ("TomolithUnit = um", "TomolithUnit = mm", "only `um`"),
        ("TomolithDigest = ", "TomolithDigest = 0", "SHA-256"),
    ];
    for (good, (from, to, why)) in cases.iter().map(|c| (MHD, c)).chain(own_cases.iter().map(|c| (native.as_str(), c)))
    {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from}");
        let error = parse_mhd(&text).expect_err(to);
        assert_eq!(error.fault(), Fault::Data, "{error}");
        assert!(error.what().contains(why), "{to}: {error}");
    }
}

#[test]
fn names_that_lead_elsewhere_break_the_policy() {
    for name in ["../a.raw", "/etc/passwd", "b/a.raw", "..", ".", "b\\a.raw", "./a.raw"] {
        for text in [MHD, NHDR].map(|t| t.replace("a.raw", name)) {
            let parse = if text.starts_with("NRRD") { parse_nhdr } else { parse_mhd };
            assert_eq!(parse(&text).unwrap_err().fault(), Fault::Policy, "{name}");
        }
    }
    assert!(check_data_file(&"n".repeat(255)).is_ok() && check_data_file(&"n".repeat(256)).is_err());
    assert!(check_data_file("a\0b").is_err());
}

#[test]
fn bad_nhdr_headers_are_refused() {
    let cases: &[(&str, &str, &str)] = &[
        ("NRRD0004", "NRRD0006", "first line"),
        ("type: unsigned short", "type: block", "uint8"),
        ("dimension: 3", "dimension: 3\ndimension: 3", "stands twice"),
        ("sizes: 4 3 2", "sizes: 4 3 0", "empty axis"),
        ("sizes: 4 3 2", "sizes: 4 3 -2", "sizes"),
        ("endian: big\n", "", "`endian` is missing"),
        ("endian: big", "endian: middle", "endian"),
        ("encoding: raw", "encoding: gzip", "only `raw`"),
        ("encoding: raw", "encoding: raw\nline skip: 1", "line skip"),
        ("encoding: raw", "encoding: raw\nbyte skip: 1048577", "byte skip"),
        ("encoding: raw", "encoding: raw\nfrobnicate: 1", "frobnicate"),
        ("encoding: raw", "encoding: raw\nno colon", "field: value"),
        ("encoding: raw", "encoding: raw\nspacings: 1 nan 1", "greater than 0"),
        ("encoding: raw", "encoding: raw\nspace directions: (1,0,0) (0,-1,0) (0,0,1)", "greater than 0"),
        ("encoding: raw", "encoding: raw\nspace directions: (1,0,0) (0.5,1,0) (0,0,1)", "parallel"),
        ("encoding: raw", "encoding: raw\nspace directions: (1,0,0) none (0,0,1)", "one vector"),
        ("encoding: raw", "encoding: raw\nspace directions: (1,0,0) (0,1,0)", "greater than 0"),
        ("encoding: raw", "encoding: raw\nspacings: 1 1 1\nunits: um um um", "in quotes"),
        ("encoding: raw", "encoding: raw\nspacings: 1e308 1 1\nunits: \"m\" \"m\" \"m\"", "beyond the range"),
        ("encoding: raw", "encoding: raw\nspace dimension: 2", "dimension"),
        ("data file: a.raw", "data file: LIST", "a list"),
        ("data file: a.raw\n", "", "`data file` is missing"),
        ("a.raw\n\n", "a.raw\n\nvoxels", "behind the empty line"),
    ];
    for (from, to, why) in cases {
        let text = NHDR.replacen(from, to, 1);
        assert_ne!(text, NHDR, "{from}");
        let error = parse_nhdr(&text).expect_err(to);
        assert_eq!(error.fault(), Fault::Data, "{error}");
        assert!(error.what().contains(why), "{to}: {error}");
    }
}

#[test]
fn any_change_of_a_header_is_an_answer_and_not_a_panic() {
    let texts = [own(None).to_mhd("n"), own(Some([Micrometre(2.0); 3])).to_nhdr("n"), MHD.into(), NHDR.into()];
    let mut state = 1u64;
    let mut random = |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    for round in 0..20_000 {
        let mut bytes = texts[round % texts.len()].clone().into_bytes();
        for _ in 0..1 + random(4) {
            let at = random(bytes.len());
            match random(3) {
                0 => bytes[at] = random(128) as u8,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"0 -9:=\n.(e"[random(10)]),
            }
        }
        let text = String::from_utf8(bytes).unwrap();
        let _ = (parse_mhd(&text), parse_nhdr(&text));
    }
}
