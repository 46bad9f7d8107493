//! A Rust tokenizer, as small as the checks of `architecture.rs` allow: comments and the contents of strings and
//! character literals are no tokens, `::` is one token, other punctuation is one character each.

/// A token and where it stands.
#[derive(Clone, Debug)]
pub struct Token {
    /// Identifier, number, lifetime, `::` or one character; `"` for a string, `'` for a character.
    pub text: String,
    /// Line, from 1.
    pub line: usize,
    /// Inside an item marked `#[cfg(test)]`, or in a file of tests.
    pub test: bool,
}

/// The tokens of a source text; `all_test` marks all of them as test code.
pub fn tokens(source: &str, all_test: bool) -> Vec<Token> {
    let s: Vec<char> = source.chars().collect();
    let at = |i: usize| s.get(i).copied().unwrap_or('\0');
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut out, mut i, mut line) = (Vec::new(), 0, 1);
    while i < s.len() {
        let start = i;
        let text = match at(i) {
            c if c.is_whitespace() => {
                i += 1;
                None
            }
            '/' if at(i + 1) == '/' => {
                while i < s.len() && at(i) != '\n' {
                    i += 1;
                }
                None
            }
            '/' if at(i + 1) == '*' => {
                let mut depth = 0;
                loop {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 || i >= s.len() {
                        break None;
                    }
                }
            }
            '"' => {
                i = end_of_quoted(&s, i + 1, '"');
                Some("\"".to_string())
            }
            // A lifetime is a quote and a word without a closing quote.
            '\'' if word(at(i + 1)) && at(i + 2) != '\'' => {
                i += 1;
                while word(at(i)) {
                    i += 1;
                }
                Some(s[start..i].iter().collect())
            }
            '\'' => {
                i = end_of_quoted(&s, i + 1, '\'');
                Some("'".to_string())
            }
            ':' if at(i + 1) == ':' => {
                i += 2;
                Some("::".to_string())
            }
            c if word(c) => {
                while word(at(i)) {
                    i += 1;
                }
                let prefix: String = s[start..i].iter().collect();
                let hashes = (i..).take_while(|&j| at(j) == '#').count();
                if ["r", "br", "cr"].contains(&prefix.as_str()) && at(i + hashes) == '"' {
                    // Raw string: up to a quote followed by as many hashes.
                    i += hashes + 1;
                    while i < s.len() && !(at(i) == '"' && (1..=hashes).all(|k| at(i + k) == '#')) {
                        i += 1;
                    }
                    i += hashes + 1;
                    Some("\"".to_string())
                } else if (prefix == "b" || prefix == "c") && at(i) == '"' || prefix == "b" && at(i) == '\'' {
                    i = end_of_quoted(&s, i + 1, at(i));
                    Some("\"".to_string())
                } else {
                    // The fraction of a number, which is not a method call or a range.
                    if c.is_ascii_digit() && at(i) == '.' && at(i + 1).is_ascii_digit() {
                        i += 1;
                        while word(at(i)) {
                            i += 1;
                        }
                    }
                    Some(s[start..i].iter().collect())
                }
            }
            c => {
                i += 1;
                Some(c.to_string())
            }
        };
        out.extend(text.map(|text| Token { text, line, test: all_test }));
        line += s[start..i.min(s.len())].iter().filter(|&&c| c == '\n').count();
    }
    mark_tests(&mut out);
    out
}

/// Index after the closing quote; a backslash hides the next character.
fn end_of_quoted(s: &[char], mut i: usize, quote: char) -> usize {
    while i < s.len() && s[i] != quote {
        i += if s[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

/// Whether the tokens from `i` on read as `pattern`, its words separated by blanks.
pub fn reads(tokens: &[Token], i: usize, pattern: &str) -> bool {
    pattern.split(' ').enumerate().all(|(k, p)| tokens.get(i + k).is_some_and(|t| t.text == p))
}

/// Marks what `#[cfg(test)]` stands before: further attributes, then an item up to its closing brace or semicolon.
fn mark_tests(tokens: &mut [Token]) {
    let mut i = 0;
    while i < tokens.len() {
        if !reads(tokens, i, "# [ cfg ( test ) ]") {
            i += 1;
            continue;
        }
        let mut depth = 0;
        for t in &mut tokens[i..] {
            t.test = true;
            i += 1;
            match t.text.as_str() {
                "{" | "(" | "[" => depth += 1,
                ")" | "]" => depth -= 1,
                "}" => {
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                ";" if depth == 0 => break,
                _ => {}
            }
        }
    }
}

#[test]
fn comments_strings_and_literals_are_not_code() {
    let text = |source: &str| tokens(source, false).into_iter().map(|t| t.text).collect::<Vec<_>>().join(" ");
    assert_eq!(text("a // unsafe\nb /* unsafe /* nested */ still */ c"), "a b c");
    assert_eq!(
        text(r##"f("un\"safe", r#"un"safe"#, b"unsafe", br"unsafe\", 'u', '\'', b'\\') g"##),
        r#"f ( " , " , " , " , ' , ' , " ) g"#
    );
    assert_eq!(text("fn f<'a>(x: &'a str) -> 'static"), "fn f < 'a > ( x : & 'a str ) - > 'static");
    assert_eq!(
        text("1.5.sin() + x.0.exp() 0..n 2f64.powi(2)"),
        "1.5 . sin ( ) + x . 0 . exp ( ) 0 . . n 2f64 . powi ( 2 )"
    );
    assert_eq!(text("crate::a::B; r#type"), "crate :: a :: B ; r # type");
    let lines: Vec<usize> = tokens("a\n\"\n\n\" b\n/*\n*/ c", false).iter().map(|t| t.line).collect();
    assert_eq!(lines, [1, 2, 4, 6]);
}

#[test]
fn items_under_cfg_test_are_marked_and_nothing_after_them() {
    let source = "a; #[cfg(test)] #[allow(x)] mod tests { fn f() { b; } } c; #[cfg(test)] use d::{e, f}; g";
    let marked = |name: &str| tokens(source, false).iter().find(|t| t.text == name).unwrap().test;
    assert_eq!(["a", "b", "c", "e", "g"].map(marked), [false, true, false, true, false]);
    assert!(tokens("a", true)[0].test);
}
