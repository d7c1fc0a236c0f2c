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
    Program::compile(text)?.eval(&Scope::of(&values(state), &Here))
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
    let scope = Scope::of(&state, &Here).with_item(&item, 2);
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
        ("a | uper", "uses the filter `uper`, which is unknown: did you mean `upper`?"),
        ("a is nosuch", "uses the test `nosuch`, which is unknown"),
        ("count / 0", "failed: "),
        ("'a' + 1", "failed: "),
        ("1 / 3 > 'x' / 2", "failed: "),
        ("nosuch(1)", "nosuch"),
        ("1e308 * 10", "which is not JSON"),
        ("9223372036854775807 * 4", "which is not JSON"),
        ("{1: 2}", "an object with the key 1"),
        ("'a' | format(1)", "uses the filter `format`, which is unknown"),
    ];
    for (text, wanted) in table {
        let error = eval(text, &json!({"count": 1, "a": 1})).expect_err(text).to_string();
        assert!(error.contains(wanted), "{text}: {error}");
    }
}

#[test]
fn a_condition_must_be_true_or_false() {
    let state = values(&json!({"approved": "no", "list": [1]}));
    let scope = Scope::of(&state, &Here);
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
    assert!(matches!(template.render(&Scope::empty(&Here)), Err(Error::OutOfFuel { .. })));
    let wide = format!("{{% for a in range(50000) %}}{}{{% endfor %}}", "x".repeat(1000));
    assert!(matches!(Template::compile(wide).unwrap().render(&Scope::empty(&Here)), Err(Error::TooLarge { .. })));
}

#[test]
fn deep_nesting_is_an_error_or_a_value_on_a_small_stack() {
    let deep = |open: &str, core: &str, close: &str| {
        let unit = format!("{open}{close}");
        let longest = (EXPRESSION_BYTES_MAX - core.len()) / unit.len();
        let allowed = syntax::OPERATORS_MAX / syntax::depth(&unit, true).operators.max(1);
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
                let _ = program.eval(&Scope::of(&values(&json!({"x": 1})), &Here));
            }
            let _ = Template::compile(format!("{{{{ {text} }}}}"))
                .map(|template| template.render(&Scope::empty(&Here)).is_ok());
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
    let scope = Scope::of(&state, &Here);
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

#[test]
fn what_the_lexer_skips_blinds_no_bound() {
    let chain = format!("a{}", ".b".repeat(20_000));
    for hidden in [
        format!("{{# {{{{ \" #}}{{{{ {chain} }}}}"),
        format!("{{% raw %}}{{{{ ' {{% endraw %}}{{{{ {chain} }}}}"),
        format!("{{{{ '\\'' }}}}{{{{ {chain} }}}}"),
        format!("{{# }}}} ' {{{{ #}}{{% if {chain} %}}{{% endif %}}"),
        format!("{{%- set x = {chain} -%}}"),
        format!("{{{{ {} }}}}", "-".repeat(30_000)),
        format!("{{{{ {} x }}}}", "not ".repeat(15_000)),
        format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(5_000)),
        format!("{{{{ {}1 }}}}", "1 if 1 else ".repeat(5_000)),
        "{% for a in b %}".repeat(4_000),
        "{% if a %}".repeat(6_000),
        "{% with a=1 %}".repeat(4_000),
        "{% set a %}".repeat(5_000),
        "{% filter upper %}".repeat(3_000),
    ] {
        let compiled = Template::compile(hidden.clone());
        assert!(
            matches!(compiled, Err(Error::TooDeep { .. } | Error::TooManyBranches { .. } | Error::Syntax { .. })),
            "{}: {compiled:?}",
            &hidden[..40]
        );
    }
}

#[test]
fn blocks_nest_as_deep_as_the_parser_allows_on_a_small_stack() {
    let nested = |open: &str, close: &str| format!("{}x{}", open.repeat(140), close.repeat(140));
    let texts = [
        nested("{% for a in b %}", "{% endfor %}"),
        nested("{% if b %}", "{% endif %}"),
        nested("{% if b %}{% else %}", "{% endif %}"),
        nested("{% with a=b %}", "{% endwith %}"),
        nested("{% set a %}", "{% endset %}"),
        nested("{% filter upper %}", "{% endfilter %}"),
        nested("{% autoescape true %}", "{% endautoescape %}"),
        format!("{{% if b %}}{}{{% endif %}}", "{% elif b %}".repeat(syntax::BRANCHES_MAX)),
    ];
    let run = move || {
        let state = values(&json!({"b": [[1]]}));
        for text in texts {
            let rendered = Template::compile(text).map(|template| template.render(&Scope::of(&state, &Here)).is_ok());
            assert!(matches!(rendered, Ok(_) | Err(Error::Syntax { .. })), "{rendered:?}");
        }
    };
    std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(run).unwrap().join().unwrap();
}

/// Fails whatever is heavy.
#[derive(Debug)]
struct LightOnly;

impl Evaluator for LightOnly {
    fn heavy(&self, evaluation: &Evaluation<'_>) -> Result<Value, Error> {
        Err(Error::Unavailable { text: evaluation.text.to_string(), why: "heavy".to_owned() })
    }

    fn light(&self, _: &str, _: usize) -> Result<(), Error> {
        Ok(())
    }
}

#[test]
fn ordinary_expressions_are_light() {
    for text in [
        "count + 1",
        "count * 2 > bound ** 2",
        "docs[0].price * item.count",
        "docs | length > 0 and not done",
        "q == 'why' or q in ['a', 'b']",
        "'yes' if count > 2 else 'no'",
        "{'question': q, 'all': docs, 'n': count * 2}",
        "docs | map(attribute='title') | join(', ')",
        "docs | selectattr('score', 'gt', 0.5) | list",
        "docs | map(attribute='price') | sum",
        "docs | sort(attribute='score') | first",
        "docs | unique(attribute='id') | list",
        "q | lower | trim",
        "q ~ ' ' ~ q",
        "docs + [item]",
        "docs[1:3]",
        "missing | default([])",
        "q | replace('a', 'b')",
        "docs | tojson",
        "q is defined and q is startingwith('w')",
        "range(3) | list",
    ] {
        assert!(Program::compile(text).unwrap().is_light(), "{text}");
    }
    for text in [
        "hello {{ name }}, {{ count + 1 }}",
        "{% for m in docs %}- {{ m.title | trim }}: {{ m.text }}\n{% endfor %}",
        "{% for m in docs %}{{ loop.index }}/{{ loop.length }}{% if not loop.last %}, {% endif %}{% endfor %}",
        "{% for m in docs if m.score > 0.5 %}{% for p in m.parts %}{{ p | upper }}{% endfor %}{% else %}none{% endfor %}",
        "{% set best = docs | first %}{{ best.title }}",
        "{% if q %}{{ q }}{% elif docs %}{{ docs | length }}{% else %}-{% endif %}",
        "{% for role, text in turns %}{{ role ~ ': ' ~ text }}{% endfor %}",
    ] {
        assert!(Template::compile(text).unwrap().is_light(), "{text}");
    }
}

#[test]
fn what_grows_or_compares_all_with_all_is_heavy() {
    for text in [
        "range(99999) | join('x' * 100000) | length > 0",
        "range(100000) | select('in', range(100000) | list) | list",
        "found | reject('in', seen) | list",
        "'x' * 1000000000",
        "[1] * 1000000000",
        "(q ~ q) * n",
        "range(n) | list",
        "docs | join(q)",
        "q | replace('', q)",
        "q | tojson | tojson | tojson | tojson",
        "q | escape | e | escape | e | e",
        "docs | map('select', 'in', docs) | list",
        "docs | map('nosuch')",
        "docs | tojson(indent=2)",
        "docs.append(1)",
        "docs | sum(start=docs)",
    ] {
        assert!(!Program::compile(text).unwrap().is_light(), "{text}");
    }
    for text in [
        "{% set a = 'x' %}{% set a = a ~ a %}{% set a = a ~ a %}{% set a = a ~ a %}{% set a = a ~ a %}{% set a = a ~ a %}{% set a = a ~ a %}{% set a = a ~ a %}",
        "{% set a %}{% for x in docs %}{{ q }}{% endfor %}{% endset %}{{ a | length }}",
        "{% filter upper %}{% for x in docs %}{{ q }}{% endfor %}{% endfilter %}",
        "{% for x in docs %}{% set a = a ~ x %}{% endfor %}",
        "{% for x in docs %}{% for y in docs %}{% for z in docs %}{{ z | upper }}{% endfor %}{% endfor %}{% endfor %}",
        "{% for x in tree recursive %}{{ loop(x) }}{% endfor %}",
        "{% autoescape 'json' %}{{ q }}{% endautoescape %}",
        "{% for i in range(10) %}{{ x * i * q }}{% endfor %}",
    ] {
        assert!(!Template::compile(text).unwrap().is_light(), "{text}");
    }
}

#[test]
fn what_is_light_becomes_heavy_with_what_it_reads() {
    let eval = |text: &str, state: Value| {
        let program = Program::compile(text).unwrap();
        assert!(program.is_light(), "{text}");
        program.eval(&Scope::of(&values(&state), &LightOnly))
    };
    let is_heavy = |result: Result<Value, Error>| matches!(result, Err(Error::Unavailable { .. }));
    assert_eq!(eval("x * n", json!({"x": 6, "n": 7})), Ok(json!(42)));
    assert!(is_heavy(eval("x * n", json!({"x": "ab", "n": 7}))));
    assert!(is_heavy(eval("o.x * n", json!({"o": {"x": [1]}, "n": 7}))));
    assert!(matches!(eval("x * n", json!({"x": 6})), Err(Error::Undefined { .. })));
    assert!(is_heavy(eval("x | upper", json!({"x": "é".repeat(3_000_000)}))));
    let list: Vec<_> = (0..60_000).collect();
    assert!(is_heavy(eval("x | sort | unique | list", json!({ "x": list }))));
    let loops = "{% for a in x %}{% for b in y %}{{ b }}{% endfor %}{% endfor %}";
    let template = Template::compile(loops).unwrap();
    let few = values(&json!({"x": [1, 2], "y": [3, 4]}));
    assert_eq!(template.render(&Scope::of(&few, &LightOnly)).unwrap(), "3434");
    let many: Vec<_> = (0..2_000).collect();
    let many = values(&json!({"x": many, "y": many}));
    assert!(matches!(template.render(&Scope::of(&many, &LightOnly)), Err(Error::Unavailable { .. })));
}

#[test]
fn a_light_template_that_goes_round_too_often_is_evaluated_as_a_heavy_one() {
    let text =
        "{% for a in range(900) %}{% for b in range(900) %}{% if b < 0 %}{{ b }}{% endif %}{% endfor %}{% endfor %}";
    let template = Template::compile(text).unwrap();
    assert!(template.is_light());
    assert!(matches!(template.render(&Scope::empty(&LightOnly)), Err(Error::Unavailable { .. })));
    assert!(matches!(template.render(&Scope::empty(&Here)), Err(Error::OutOfFuel { .. })));
}

#[test]
fn nothing_is_folded_before_it_is_evaluated() {
    for text in ["'x' * 1000000000", "('x' * 100000000) ~ 'y'", "[['x' * 100000000] * 100000000]"] {
        assert!(Program::compile(text).is_ok_and(|program| !program.is_light()), "{text}");
        assert!(Template::compile(format!("{{{{ {text} }}}}")).is_ok_and(|template| !template.is_light()), "{text}");
    }
}

#[test]
fn the_tables_of_filters_and_tests_are_the_engines() {
    for name in weigh::FILTERS {
        assert!(
            engine::full().compile_expression(&format!("'{name}' is filter")).unwrap().eval(()).unwrap().is_true(),
            "{name}"
        );
    }
    for name in weigh::TESTS {
        assert!(
            engine::full().compile_expression(&format!("'{name}' is test")).unwrap().eval(()).unwrap().is_true(),
            "{name}"
        );
    }
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
            let _ = program.eval(&Scope::of(&values(&json!({"a": 1})), &Here));
            prop_assert!(names.len() <= 60);
        }
    }

    /// Where nothing is sliced, the engine's own list is right, and ours must be the same.
    #[test]
    fn names_agree_with_the_engine(text in "(a|b\\.c|'s'|d\\[e\\]|f\\|abs|1)( (and|or|\\+|==|in|~) (not )?(a|g|h\\.i|j is defined|range\\(k\\)|\\[l, m\\]|n\\|d\\(o\\))){0,4}") {
        if let Ok(program) = Program::compile(text.clone()) {
            let mut engine = engine::full().compile_expression(&text).unwrap().undeclared_variables(false);
            engine.remove("range");
            prop_assert_eq!(program.names().map(ToOwned::to_owned).collect::<BTreeSet<_>>(), engine.into_iter().collect::<BTreeSet<_>>());
        }
    }
}
