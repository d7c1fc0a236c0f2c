//! Which names an expression or template reads, told from its syntax tree; and which words a text holds.

use std::collections::BTreeSet;

use minijinja::machinery::ast::{CallArg, Expr, Stmt};

/// The words of a text that could be names: more than there are, never fewer.
pub(super) fn words(text: &str) -> BTreeSet<&str> {
    words_at(text).map(|(_, word)| word).collect()
}

fn words_at(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text[at..].find(starts_word)?;
        let end = text[start..].find(|c| !continues_word(c)).map_or(text.len(), |length| start + length);
        at = end;
        Some((start, &text[start..end]))
    })
}

/// Whether a name occurs in a text as a whole word.
pub(super) fn occurs(text: &str, name: &str) -> bool {
    words(text).contains(name)
}

/// Whether a name occurs in a text and is not tested or given a default where it first stands.
pub(super) fn occurs_unguarded(text: &str, name: &str) -> bool {
    let Some((start, _)) = words_at(text).find(|(_, word)| *word == name) else { return false };
    let rest = text[start + name.len()..].trim_start();
    let filter = rest.strip_prefix('|').map(str::trim_start);
    !rest.starts_with("is ") && !filter.is_some_and(|filter| filter.starts_with("default") || filter.starts_with("d("))
}

fn starts_word(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn continues_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// What an expression or template refers to.
#[derive(Debug, Default)]
pub(super) struct Uses<'a> {
    /// The names that it reads: no attributes, keyword arguments or functions, and nothing that it sets itself before.
    pub(super) free: BTreeSet<&'a str>,
    /// Its filters.
    pub(super) filters: BTreeSet<&'a str>,
    /// Its tests: what stands after `is`.
    pub(super) tests: BTreeSet<&'a str>,
}

impl Uses<'_> {
    /// The names that it reads.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.free.iter().map(|name| (*name).to_owned()).collect()
    }
}

/// What an expression refers to.
pub(super) fn of_expression<'a>(tree: &Expr<'a>) -> Uses<'a> {
    let mut reader = Reader::default();
    reader.expr(tree);
    reader.uses
}

/// What a template refers to.
pub(super) fn of_template<'a>(tree: &Stmt<'a>) -> Uses<'a> {
    let mut reader = Reader::default();
    reader.stmt(tree);
    reader.uses
}

/// Walks a tree in the order in which it is evaluated.
#[derive(Default)]
struct Reader<'a> {
    uses: Uses<'a>,
    /// What is bound so far, the innermost block last.
    bound: Vec<BTreeSet<&'a str>>,
}

impl<'a> Reader<'a> {
    fn expr(&mut self, tree: &Expr<'a>) {
        match tree {
            Expr::Var(var) => {
                if !self.bound.iter().any(|names| names.contains(var.id)) {
                    self.uses.free.insert(var.id);
                }
            }
            Expr::Const(_) => {}
            Expr::Slice(slice) => {
                self.expr(&slice.expr);
                self.each([&slice.start, &slice.stop, &slice.step].into_iter().flatten());
            }
            Expr::UnaryOp(unary) => self.expr(&unary.expr),
            Expr::BinOp(binary) => self.each([&binary.left, &binary.right]),
            Expr::Compare(compare) => {
                self.expr(&compare.expr);
                self.each(compare.ops.iter().map(|op| &op.expr));
            }
            Expr::IfExpr(choice) => {
                self.each([&choice.test_expr, &choice.true_expr]);
                self.each(&choice.false_expr);
            }
            Expr::Filter(filter) => {
                self.uses.filters.insert(filter.name);
                self.each(&filter.expr);
                self.args(&filter.args);
            }
            Expr::Test(test) => {
                self.uses.tests.insert(test.name);
                self.expr(&test.expr);
                self.args(&test.args);
            }
            Expr::GetAttr(attr) => self.expr(&attr.expr),
            Expr::GetItem(item) => self.each([&item.expr, &item.subscript_expr]),
            Expr::Call(call) => self.call(&call.expr, &call.args),
            Expr::List(list) => self.each(&list.items),
            Expr::Tuple(tuple) => self.each(&tuple.items),
            Expr::Map(map) => self.each(map.keys.iter().chain(&map.values)),
        }
    }

    fn call(&mut self, called: &Expr<'a>, args: &[CallArg<'a>]) {
        let is_function = matches!(called, Expr::Var(var) if super::engine::FUNCTIONS.contains(&var.id));
        if !is_function {
            self.expr(called);
        }
        self.args(args);
    }

    fn each<'t>(&mut self, trees: impl IntoIterator<Item = &'t Expr<'a>>)
    where
        'a: 't,
    {
        for tree in trees {
            self.expr(tree);
        }
    }

    fn args(&mut self, args: &[CallArg<'a>]) {
        for arg in args {
            match arg {
                CallArg::Pos(tree) | CallArg::Kwarg(_, tree) | CallArg::PosSplat(tree) | CallArg::KwargSplat(tree) => {
                    self.expr(tree);
                }
            }
        }
    }

    fn stmt(&mut self, tree: &Stmt<'a>) {
        match tree {
            Stmt::Template(template) => self.block([], &template.children),
            Stmt::EmitExpr(emit) => self.expr(&emit.expr),
            Stmt::EmitRaw(_) => {}
            Stmt::ForLoop(each) => {
                self.expr(&each.iter);
                let bound = targets(&each.target).into_iter().chain(["loop"]);
                self.bound.push(bound.collect());
                self.each(&each.filter_expr);
                self.body(&each.body);
                self.bound.pop();
                self.block([], &each.else_body);
            }
            Stmt::IfCond(choice) => {
                self.expr(&choice.expr);
                self.body(&choice.true_body);
                self.body(&choice.false_body);
            }
            Stmt::WithBlock(with) => {
                self.each(with.assignments.iter().map(|(_, value)| value));
                let bound = with.assignments.iter().flat_map(|(target, _)| targets(target));
                self.block(bound.collect::<Vec<_>>(), &with.body);
            }
            Stmt::Set(set) => {
                self.expr(&set.expr);
                self.bind(&set.target);
            }
            Stmt::SetBlock(set) => {
                self.each(&set.filter);
                self.block([], &set.body);
                self.bind(&set.target);
            }
            Stmt::AutoEscape(escape) => {
                self.expr(&escape.enabled);
                self.body(&escape.body);
            }
            Stmt::FilterBlock(filter) => {
                self.expr(&filter.filter);
                self.block([], &filter.body);
            }
            Stmt::Do(call) => self.call(&call.call.expr, &call.call.args),
        }
    }

    fn block(&mut self, bound: impl IntoIterator<Item = &'a str>, body: &[Stmt<'a>]) {
        self.bound.push(bound.into_iter().collect());
        self.body(body);
        self.bound.pop();
    }

    fn body(&mut self, body: &[Stmt<'a>]) {
        for tree in body {
            self.stmt(tree);
        }
    }

    fn bind(&mut self, target: &Expr<'a>) {
        let names = targets(target);
        if let Some(innermost) = self.bound.last_mut() {
            innermost.extend(names);
        }
    }
}

/// The names that an assignment gives a value to.
pub(super) fn targets<'a>(target: &Expr<'a>) -> Vec<&'a str> {
    match target {
        Expr::Var(var) => vec![var.id],
        Expr::List(list) => list.items.iter().flat_map(targets).collect(),
        Expr::Tuple(tuple) => tuple.items.iter().flat_map(targets).collect(),
        _ => Vec::new(),
    }
}
