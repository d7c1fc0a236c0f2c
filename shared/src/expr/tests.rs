//! Tests of expressions and templates.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::checkpoint::Values;
use crate::id::ChannelName;

fn values(object: &Value) -> Values {
    let pairs = object.as_object().unwrap().iter();
    pairs.map(|(name, value)| (ChannelName::new(name).unwrap(), value.clone())).collect()
}

fn eval(text: &str, state: &Value) -> Result<Value, Error> {
    Program::compile(text)?.eval(&Scope::of(&values(state)))
}

#[test]
fn channels_are_names() {
    let state = json!({"count": 3, "bound": 10, "q": "why", "list": [1, 2, 3]});
    for (text, wanted) in [
        ("count + 1", json!(4)),
        ("count >= bound", json!(false)),
        ("count < bound and q == 'why'", json!(true)),
        ("{'question': q, 'all': list}", json!({"question": "why", "all": [1, 2, 3]})),
        ("list | length", json!(3)),
        ("list[1:]", json!([2, 3])),
        ("list | map('string') | join(',')", json!("1,2,3")),
        ("'yes' if count > 2 else 'no'", json!("yes")),
        ("range(3) | list", json!([0, 1, 2])),
        ("none", json!(null)),
        ("missing is defined", json!(false)),
        ("missing | default(7)", json!(7)),
    ] {
        assert_eq!(eval(text, &state), Ok(wanted), "{text}");
    }
}

#[test]
fn an_item_and_its_index_win_over_channels() {
    let state = values(&json!({"item": "channel", "other": 1}));
    let item = json!({"name": "a"});
    let scope = Scope::of(&state).with_item(&item, 2);
    let program = Program::compile("[item.name, index, other]").unwrap();
    assert_eq!(program.eval(&scope), Ok(json!(["a", 2, 1])));
}

#[test]
fn every_json_value_comes_back_exactly() {
    for value in [
        json!(0),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1.0),
        json!(-0.0),
        json!(1e300),
        json!(0.1),
        json!(""),
        json!("é\u{0}\n\"<&>"),
        json!(null),
        json!([]),
        json!({}),
        json!({"a": [1, 2.0, {"b": null, "": [[]]}], "1": true}),
    ] {
        let back = eval("x", &json!({"x": value})).unwrap();
        assert_eq!(back.to_string(), value.to_string());
    }
}

#[test]
fn an_absent_name_is_named_with_the_remedy() {
    for text in [
        "answer",
        "answer > 3",
        "answer + 1",
        "not answer",
        "answer.text",
        "[1, answer]",
        "{'a': answer}",
        "answer[0:1]",
        "answer == 1 or true",
        "answer | upper",
    ] {
        let error = eval(text, &json!({"other": 1})).expect_err(text);
        assert!(matches!(&error, Error::Undefined { name, .. } if name == "answer"), "{text}: {error:?}");
        assert!(error.to_string().contains("answer | default(…)"), "{error}");
    }
    let error = eval("doc.title ~ '!'", &json!({"doc": {}})).unwrap_err();
    assert!(matches!(&error, Error::Undefined { name, .. } if name.contains("doc.title")), "{error:?}");
    let error = eval("missing | default(1) ~ doc.title", &json!({"doc": {}})).unwrap_err();
    assert!(matches!(&error, Error::Undefined { name, .. } if name.contains("doc.title")), "{error:?}");
}

#[test]
fn a_mistake_says_what_and_where() {
    let table = [
        ("count >", "`count >` is not an expression: unexpected end of input"),
        ("", "unexpected end of input"),
        ("a b", "unexpected input after expression (at character 3)"),
        ("a | nosuch", "filter nosuch is unknown"),
        ("count / 0", "failed: "),
        ("'a' + 1", "failed: "),
        ("1 / 3 > 'x' / 2", "failed: "),
        ("nosuch(1)", "nosuch"),
        ("1e308 * 10", "which is not JSON"),
        ("9223372036854775807 * 4", "which is not JSON"),
        ("{1: 2}", "an object with the key 1"),
        ("'a' | format(1)", "unknown"),
    ];
    for (text, wanted) in table {
        let error = eval(text, &json!({"count": 1, "a": 1})).expect_err(text).to_string();
        assert!(error.contains(wanted), "{text}: {error}");
    }
}

#[test]
fn a_condition_must_be_true_or_false() {
    let state = values(&json!({"approved": "no", "list": [1]}));
    let scope = Scope::of(&state);
    let error = Program::compile("approved").unwrap().eval_bool(&scope).unwrap_err().to_string();
    assert_eq!(
        error,
        "`approved` gave the text \"no\" where true or false is needed: compare it, as in `x > 0`, `x == 'yes'` or `x is defined`"
    );
    assert_eq!(Program::compile("approved == 'yes'").unwrap().eval_bool(&scope), Ok(false));
    assert_eq!(Program::compile("list").unwrap().eval_list(&scope), Ok(vec![json!(1)]));
    assert_eq!(
        Program::compile("approved").unwrap().eval_list(&scope).unwrap_err().to_string(),
        "`approved` gave the text \"no\" where a list is needed"
    );
}

#[test]
fn an_expression_is_bounded_in_length_fuel_and_result() {
    let long = format!("'{}'", "x".repeat(EXPRESSION_BYTES_MAX));
    assert!(matches!(Program::compile(long), Err(Error::TooLong { .. })));
    assert!(matches!(eval("'x' * 5000000", &json!({})), Err(Error::TooLarge { .. })));
    assert!(matches!(eval("('x' * 9000) | replace('x', 'y' * 9000)", &json!({})), Err(Error::Failed { .. })));
    let template =
        Template::compile("{% for a in range(5000) %}{% for b in range(5000) %}{% endfor %}{% endfor %}").unwrap();
    assert!(matches!(template.render(&Scope::empty()), Err(Error::OutOfFuel { .. })));
    let wide = format!("{{% for a in range(50000) %}}{}{{% endfor %}}", "x".repeat(1000));
    assert!(matches!(Template::compile(wide).unwrap().render(&Scope::empty()), Err(Error::TooLarge { .. })));
}

#[test]
fn deep_nesting_is_an_error_or_a_value_on_a_small_stack() {
    let deep = |open: &str, core: &str, close: &str| {
        let unit = format!("{open}{close}");
        let longest = (EXPRESSION_BYTES_MAX - core.len()) / unit.len();
        let allowed = nesting::OPERATORS_MAX / nesting::in_expression(&unit).max(1);
        let both = [longest, allowed.min(longest)];
        both.map(|n| format!("{}{core}{}", open.repeat(n), close.repeat(n)))
    };
    let mixed = |core: &str| {
        [
            format!("{}{core}{}{}", "(".repeat(140), ".a".repeat(250), ")".repeat(140)),
            format!("{}{core}{}", "[".repeat(140), "]".repeat(140)),
        ]
    };
    let texts = [
        mixed("x"),
        deep("(", "1", ")"),
        deep("[", "1", "]"),
        deep("not ", "true", ""),
        deep("-", "1", ""),
        deep("1+", "1", ""),
        deep("1**", "1", ""),
        deep("x~", "x", ""),
        deep("x or ", "x", ""),
        deep("", "x", ".a"),
        deep("", "x", "[0]"),
        deep("", "x", "|abs"),
        deep("", "x", "|d(1)"),
        deep("", "x", " is true"),
        deep("", "x", "()"),
        deep("{'a':", "1", "}"),
        deep("1 if x else ", "1", ""),
        deep("x<", "x", ""),
        deep("", "x", "[:]"),
        deep("x in ", "x", ""),
    ];
    let run = move || {
        for text in texts.concat() {
            if let Ok(program) = Program::compile(text.clone()) {
                let _ = program.eval(&Scope::of(&values(&json!({"x": 1}))));
            }
            let _ =
                Template::compile(format!("{{{{ {text} }}}}")).map(|template| template.render(&Scope::empty()).is_ok());
        }
    };
    std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(run).unwrap().join().unwrap();
}

#[test]
fn names_are_channels_and_nothing_else() {
    let cases: [(&str, &[&str]); 12] = [
        ("count + 1", &["count"]),
        ("a.b.c[d]", &["a", "d"]),
        ("docs[1:n]", &["docs", "n"]),
        ("xs | map(attribute='name') | join(sep)", &["sep", "xs"]),
        ("x is defined and y is not none", &["x", "y"]),
        ("x is not divisibleby(k)", &["k", "x"]),
        ("range(3) | list", &[]),
        ("'a in b' ~ \"c \\\" d\"", &[]),
        ("{'k': v, w: 1}", &["v", "w"]),
        ("1e5 + x1", &["x1"]),
        ("a == b", &["a", "b"]),
        ("(a if b else c)", &["a", "b", "c"]),
    ];
    for (text, wanted) in cases {
        assert_eq!(Program::compile(text).unwrap().names().collect::<Vec<_>>(), wanted, "{text}");
    }
}

#[test]
fn a_template_fills_in_its_expressions() {
    let state = values(&json!({"name": "Ada", "n": 3, "tags": ["a", "b"], "deep": {"x": "<y>"}}));
    let scope = Scope::of(&state);
    let render = |text: &str| Template::compile(text).unwrap().render(&scope);
    assert_eq!(render("hello {{ name }}, {{ n + 1 }} {{ deep.x }}").unwrap(), "hello Ada, 4 <y>");
    assert_eq!(render("{% for tag in tags %}[{{ tag }}]{% endfor %}").unwrap(), "[a][b]");
    assert_eq!(render("{{ tags | tojson }}").unwrap(), "[\"a\", \"b\"]");
    assert_eq!(
        Template::compile("{{ a }} {{ b.c }}{% for d in e %}{{ d }}{% endfor %}").unwrap().names().collect::<Vec<_>>(),
        ["a", "b", "e"]
    );
    assert!(matches!(render("{{ missing }}"), Err(Error::Undefined { name, .. }) if name == "missing"));
    assert!(matches!(Template::compile("{{ a"), Err(Error::Syntax { .. })));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..6).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_value_comes_back_exactly(value in any_json()) {
        let back = eval("{'v': [x]}", &json!({"x": value})).unwrap();
        prop_assert_eq!(back.to_string(), json!({"v": [value]}).to_string());
    }

    #[test]
    fn any_text_compiles_or_is_refused(text in "[a-z0-9 .|()\\[\\]{}'\":,+*<>=~%-]{0,60}") {
        if let Ok(program) = Program::compile(text) {
            let names: BTreeSet<String> = program.names().map(ToOwned::to_owned).collect();
            let _ = program.eval(&Scope::of(&values(&json!({"a": 1}))));
            prop_assert!(names.len() <= 60);
        }
    }

    /// Where nothing is sliced, the engine's own list is right, and ours must be the same.
    #[test]
    fn names_agree_with_the_engine(text in "(a|b\\.c|'s'|d\\[e\\]|f\\|abs|1)( (and|or|\\+|==|in|~) (not )?(a|g|h\\.i|j is defined|range\\(k\\)|\\[l, m\\]|n\\|d\\(o\\))){0,4}") {
        if let Ok(program) = Program::compile(text.clone()) {
            let mut engine = engine::environment().compile_expression(&text).unwrap().undeclared_variables(false);
            engine.remove("range");
            prop_assert_eq!(program.names().map(ToOwned::to_owned).collect::<BTreeSet<_>>(), engine.into_iter().collect::<BTreeSet<_>>());
        }
    }
}
