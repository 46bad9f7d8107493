use super::*;

#[test]
fn canonical_text_is_sorted_indented_and_ends_in_lf() {
    let json = Json::obj([
        ("z", Json::from(vec![1i64, 2])),
        ("a", Json::obj([("é", Json::from(0.1)), ("B", Json::Null)])),
        ("empty", Json::Arr(vec![])),
        ("none", Json::obj::<String>([])),
        ("t", "a\"\\\n\u{1}".into()),
    ]);
    let text = "{\n  \"a\": {\n    \"B\": null,\n    \"é\": 0.1\n  },\n  \"empty\": [],\n  \"none\": {},\n  \
                \"t\": \"a\\\"\\\\\\n\\u0001\",\n  \"z\": [\n    1,\n    2\n  ]\n}\n";
    assert_eq!(json.to_canonical(), text);
    assert_eq!(Json::parse(text).unwrap(), json);
    assert_eq!(Json::parse(&json.to_line()).unwrap(), json);
    assert!(!json.to_line().contains('\n'));
}

#[test]
fn numbers_keep_their_bits_and_their_kind() {
    let cases =
        [0.0, -0.0, 1.0, 1.33, 1e-7, 5e-324, f64::MAX, f64::MIN_POSITIVE, 1e16, 123456789012345680.0, -2.5e-300];
    for v in cases {
        let text = Json::Num(v).to_canonical();
        match Json::parse(&text).unwrap() {
            Json::Num(back) => assert_eq!(back.to_bits(), v.to_bits(), "{text}"),
            other => panic!("{text} became {other:?}"),
        }
    }
    for i in [0, -1, i64::MAX, i64::MIN] {
        assert_eq!(Json::parse(&Json::Int(i).to_canonical()).unwrap(), Json::Int(i));
    }
    assert_eq!(Json::from(u64::MAX), Json::Str("18446744073709551615".into()));
}

#[test]
fn what_is_not_finite_is_written_as_text() {
    for (v, text) in [(f64::NAN, "\"nan\"\n"), (f64::INFINITY, "\"inf\"\n"), (f64::NEG_INFINITY, "\"-inf\"\n")] {
        assert_eq!(Json::Num(v).to_canonical(), text);
        assert_eq!(Json::parse(text).unwrap(), Json::from(v));
    }
}

#[test]
fn escapes_are_understood() {
    let parsed = Json::parse(r#""\u00e9\ud83d\ude00\/\b\f\n\r\t\"\\""#).unwrap();
    assert_eq!(parsed, Json::Str("é😀/\u{8}\u{c}\n\r\t\"\\".into()));
}

#[test]
fn bad_texts_are_refused_with_their_place() {
    let deep = "[".repeat(MAX_DEPTH + 1);
    let bad = [
        "",
        " ",
        "{",
        "}",
        "[1,]",
        "[1 2]",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{a:1}",
        "{\"a\":1,\"a\":2}",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e999",
        "NaN",
        "Infinity",
        "nul",
        "\"",
        "\"\n\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12é\"",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "\"\\é\"",
        "1 2",
        "9223372036854775808",
        "'a'",
        "[1]//",
        "\u{feff}1",
        &deep,
    ];
    for text in bad {
        let error = Json::parse(text).expect_err(text);
        assert_eq!(error.fault(), crate::error::Fault::Data, "{text}");
        assert!(error.what().contains("line "), "{error}");
    }
    assert!(Json::parse(&"[".repeat(MAX_DEPTH)).unwrap_err().what().contains("ends"));
    assert!(Json::parse(&" ".repeat(MAX_TEXT + 1)).is_err());
    let error = Json::parse("{\n  \"a\": x}").unwrap_err();
    assert!(error.what().contains("line 2, column 8"), "{error}");
}

#[test]
fn needed_members_are_named_when_they_are_absent_or_of_another_kind() {
    let json = Json::parse(r#"{"n": 3, "x": 1.5, "s": "t", "l": []}"#).unwrap();
    assert_eq!((json.need_u64("n").unwrap(), json.need_f64("n").unwrap()), (3, 3.0));
    assert_eq!((json.need_f64("x").unwrap(), json.need_str("s").unwrap()), (1.5, "t"));
    assert!(json.need_arr("l").unwrap().is_empty());
    for error in [json.need("q").unwrap_err(), json.need_u64("x").unwrap_err(), json.need_str("n").unwrap_err()] {
        assert!(error.what().contains('`'), "{error}");
    }
}
