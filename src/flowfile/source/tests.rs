use proptest::prelude::*;

use super::*;
use crate::flowfile::decode::At;
use crate::flowfile::fault::render;

fn tree(text: &str, format: Format) -> Node {
    let mut faults = Faults::default();
    let node = read(text, format, &mut faults);
    assert!(faults.is_empty(), "{}", render(&faults.into_sorted(), "f", text));
    node.unwrap()
}

fn complaints(text: &str, format: Format) -> String {
    let mut faults = Faults::default();
    read(text, format, &mut faults);
    render(&faults.into_sorted(), "f", text)
}

#[test]
fn the_three_formats_give_the_same_tree() {
    let yaml = "name: demo\nn: 3\nx: 1.5e-3\nyes: true\nlist: [a, '1', 2]\nmap:\n  deep: {k: v}\n";
    let json = "{\"name\": \"demo\", \"n\": 3, \"x\": 1.5e-3, \"yes\": true,\n\t\"list\": [\"a\", \"1\", 2], \"map\": {\"deep\": {\"k\": \"v\"}}}";
    let toml =
        "name = 'demo'\nn = 3\nx = 1.5e-3\nyes = true\nlist = ['a', '1', 2]\n[map]\ndeep = {k = 'v'}\n";
    let expected = tree(yaml, Format::Yaml).to_bson();
    assert_eq!(tree(json, Format::Json).to_bson(), expected);
    assert_eq!(tree(toml, Format::Toml).to_bson(), expected);
}

#[test]
fn places_are_lines_and_columns_in_characters() {
    let yaml = tree("a: ä\nb:\n  - é: [x, yy]\n", Format::Yaml);
    let list = yaml.get("b").unwrap();
    let Value::List(items) = &list.value else { panic!() };
    let inner = items[0].get("é").unwrap();
    let Value::List(inner) = &inner.value else { panic!() };
    assert_eq!(inner[1].span, Span { line: 3, column: 12, length: 2 });
    let toml = tree("a = 'ä'\n[b]\nc = ['é', 'yy']\n", Format::Toml);
    let Value::List(inner) = &toml.get("b").unwrap().get("c").unwrap().value else { panic!() };
    assert_eq!(inner[1].span, Span { line: 3, column: 11, length: 4 });
}

#[test]
fn duplicate_keys_are_shown_with_their_first_line() {
    insta::assert_snapshot!(complaints("a: 1\nb: 2\na: 3\n", Format::Yaml), @r"
    f:3:1: the key `a` is given twice (first in line 1)
      |
    3 | a: 3
      | ^ keep one of them
    ");
    insta::assert_snapshot!(complaints("a = 1\nb = 2\na = 3\n", Format::Toml), @r"
    f:3:1: duplicate key
      |
    3 | a = 3
      | ^
    ");
    insta::assert_snapshot!(complaints("{\"a\": 1, \"a\": 2}", Format::Json), @r#"
    f:1:10: the key `a` is given twice (first in line 1)
      |
    1 | {"a": 1, "a": 2}
      |          ^^^ keep one of them
    "#);
}

#[test]
fn broken_syntax_is_one_fault_with_its_place() {
    insta::assert_snapshot!(complaints("a: [1, 2\nb: 3\n", Format::Yaml), @r"
    f:2:2: illegal placement of ':' indicator
      |
    2 | b: 3
      |  ^
    ");
    insta::assert_snapshot!(complaints("a:\n\t- b\n", Format::Yaml), @r"
    f:2:2: tabs disallowed within this context (block indentation)
      |
    2 |  - b
      |  ^
    ");
    insta::assert_snapshot!(complaints("a = [1, 2\nb = 3\n", Format::Toml), @r"
    f:2:1: missing comma between array elements, expected `,`
      |
    2 | b = 3
      | ^
    ");
    insta::assert_snapshot!(complaints("a: !python/object x\n", Format::Yaml), @r"
    f:1:4: the tag `!python/object` is not known
      |
    1 | a: !python/object x
      |    ^^^^^^^^^^^^^^^^ remove it
    ");
    insta::assert_snapshot!(complaints("a: 1\n---\nb: 1\n", Format::Yaml), @r"
    f:2:1: a second document begins here; a file holds one
      |
    2 | ---
      | ^^^ give each its own file
    ");
    insta::assert_snapshot!(complaints("a: 123456789012345678901\n", Format::Yaml), @r"
    f:1:4: this integer does not fit into 64 bits
      |
    1 | a: 123456789012345678901
      |    ^^^^^^^^^^^^^^^^^^^^^ put it into quotes, to have it as text
    ");
    insta::assert_snapshot!(complaints("? [a, b]\n: 1\n", Format::Yaml), @r"
    f:1:3: a list or a map cannot be a key
      |
    1 | ? [a, b]
      |   ^
    ");
}

#[test]
fn json_is_json_and_not_yaml() {
    let node = tree("{\"a\\/b\": \"\\ud83d\\ude00\",\n\t\"n\": [NaN, 1e3]}", Format::Json);
    assert_eq!(node.get("a/b").unwrap().value, Value::Text("😀".to_owned()));
    insta::assert_snapshot!(complaints("{\n  \"a\": [1, 2,]\n}", Format::Json), @r#"
    f:2:14: a value is missing
      |
    2 |   "a": [1, 2,]
      |              ^
    "#);
    insta::assert_snapshot!(complaints("{\"a\": 1", Format::Json), @r#"
    f:1:8: `,` or `}` is missing
      |
    1 | {"a": 1
      |        ^
    "#);
    insta::assert_snapshot!(complaints("{a: 1}", Format::Json), @r"
    f:1:2: a key in double quotes is missing
      |
    1 | {a: 1}
      |  ^
    ");
}

#[test]
fn anchors_and_merge_keys_work() {
    let node = tree("d: &d {x: 1, y: 2}\ne:\n  <<: *d\n  y: 3\nf: *d\n", Format::Yaml);
    assert_eq!(node.get("e").unwrap().to_bson(), bson::bson!({"y": 3, "x": 1}));
    assert_eq!(node.get("f").unwrap().to_bson(), bson::bson!({"x": 1, "y": 2}));
}

#[test]
fn bombs_are_refused() {
    let mut lines = vec!["a0: &a0 [x, x, x, x, x, x, x, x, x, x]".to_owned()];
    for level in 1..12 {
        lines.push(format!("a{level}: &a{level} [{}]", vec![format!("*a{}", level - 1); 10].join(", ")));
    }
    let bomb = lines.join("\n");
    assert!(complaints(&bomb, Format::Yaml).contains("more than 500000 values"));
    let long = format!("a: &a '{}'\nb: [{}]\n", "x".repeat(1 << 20), "*a,".repeat(1000));
    assert!(complaints(&long, Format::Yaml).contains("more than 500000 values"));
    assert!(complaints("a: &a [*a]\n", Format::Yaml).contains("inside the value that it repeats"));
    assert!(complaints(&"[".repeat(100), Format::Yaml).contains("deeper than 64"));
    assert!(!complaints(&"[".repeat(100_000), Format::Yaml).is_empty());
    assert!(complaints(&"{\"a\":".repeat(101), Format::Json).contains("deeper than"));
    let closed = format!("{}{}", "[".repeat(70), "]".repeat(70));
    assert!(complaints(&closed, Format::Json).contains("deeper than 64"));
    assert!(!complaints(&format!("a = {}", "[".repeat(100_000)), Format::Toml).is_empty());
}

#[test]
fn unknown_keys_get_the_nearest_known_one() {
    let text = "comand: [a]\nzzz: 1\nenv: 3\n";
    let node = tree(text, Format::Yaml);
    let mut faults = Faults::default();
    let mut table = At::root(&node).table(&mut faults).unwrap();
    assert!(table.take("command").is_none());
    table.take("env").unwrap().text(&mut faults);
    table.finish(&mut faults);
    insta::assert_snapshot!(render(&faults.into_sorted(), "flow.yaml", text), @r"
    flow.yaml:1:1: the key `comand` is not known here
      |
    1 | comand: [a]
      | ^^^^^^ did you mean `command`?
    flow.yaml:2:1: the key `zzz` is not known here
      |
    2 | zzz: 1
      | ^^^ known are: command, env
    flow.yaml:3:6: a text is needed here, not the number 3 (in env)
      |
    3 | env: 3
      |      ^ put it into quotes
    ");
}

proptest! {
    #[test]
    fn no_text_makes_a_reader_panic(text in "[\\[\\]{}:,&*a-c\"'\\-#|>\n\t !=.0-9é]{0,80}") {
        for format in [Format::Yaml, Format::Json, Format::Toml] {
            let mut faults = Faults::default();
            let node = read(&text, format, &mut faults);
            prop_assert!(node.is_some() || !faults.is_empty());
            render(&faults.into_sorted(), "f", &text);
        }
    }
}
