//! Reads expressions and templates with the engine's own lexer and parser, within bounds.
//!
//! The parser refuses brackets that nest too deep. It builds chains (`a.b.c…`, `a or b or c…`, `elif` after `elif`) as trees
//! that are as deep as the chain is long, and walks them by recursion: a few thousand links would overflow the stack of a
//! thread. So the tokens are counted first. The lexer that counts them is the one that the parser reads.

use minijinja::machinery::ast::{Expr, Stmt};
use minijinja::machinery::{Token, parse, parse_expr, tokenize};
use minijinja::syntax::SyntaxConfig;

use super::Error;

/// Operators, brackets, dots and pipes of one expression. An unoptimised engine overflows 2 MiB at about 1,000.
pub(super) const OPERATORS_MAX: usize = 400;
/// `elif` branches of one template. Each takes a frame of the parser, as an operator does.
pub(super) const BRANCHES_MAX: usize = 200;

const NESTING_WORDS: [&str; 7] = ["and", "or", "not", "in", "is", "if", "else"];
const NAME: &str = "template";

/// Reads an expression.
pub(super) fn expression(text: &str) -> Result<Expr<'_>, Error> {
    check_depth(text, true)?;
    parse_expr(text).map_err(|error| Error::syntax(text, &error))
}

/// Reads a template.
pub(super) fn template(text: &str) -> Result<Stmt<'_>, Error> {
    check_depth(text, false)?;
    parse(text, NAME, SyntaxConfig::default()).map_err(|error| Error::syntax(text, &error))
}

fn check_depth(text: &str, is_expression: bool) -> Result<(), Error> {
    let depth = depth(text, is_expression);
    if depth.operators > OPERATORS_MAX {
        return Err(Error::TooDeep { text: text.to_owned(), operators: depth.operators });
    }
    if depth.branches > BRANCHES_MAX {
        return Err(Error::TooManyBranches { text: text.to_owned(), branches: depth.branches });
    }
    Ok(())
}

/// How deep a tree can become.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Depth {
    /// The most operators, brackets, dots and pipes of one expression or tag.
    pub(super) operators: usize,
    /// The `elif` branches.
    pub(super) branches: usize,
}

/// Counts until the text ends, or until the lexer finds a mistake: the parser stops there too.
pub(super) fn depth(text: &str, is_expression: bool) -> Depth {
    let mut most = Depth::default();
    let mut operators = 0;
    let mut begins_tag = false;
    for token in tokenize(text, is_expression, SyntaxConfig::default()) {
        let Ok((token, _)) = token else { break };
        if begins_tag && matches!(token, Token::Ident("elif")) {
            most.branches += 1;
        }
        begins_tag = matches!(token, Token::BlockStart);
        if matches!(token, Token::VariableStart | Token::BlockStart) {
            operators = 0;
        }
        operators += usize::from(nests(&token));
        most.operators = most.operators.max(operators);
    }
    most
}

fn nests(token: &Token<'_>) -> bool {
    match token {
        Token::Ident(word) => NESTING_WORDS.contains(word),
        Token::Plus
        | Token::Minus
        | Token::Mul
        | Token::Div
        | Token::FloorDiv
        | Token::Pow
        | Token::Mod
        | Token::Dot
        | Token::Tilde
        | Token::Pipe
        | Token::Eq
        | Token::Ne
        | Token::Gt
        | Token::Gte
        | Token::Lt
        | Token::Lte
        | Token::BracketOpen
        | Token::ParenOpen
        | Token::BraceOpen => true,
        Token::TemplateData(_)
        | Token::VariableStart
        | Token::VariableEnd
        | Token::BlockStart
        | Token::BlockEnd
        | Token::Str(_)
        | Token::String(_)
        | Token::Int(_)
        | Token::Int128(_)
        | Token::Float(_)
        | Token::Comma
        | Token::Colon
        | Token::Assign
        | Token::BracketClose
        | Token::ParenClose
        | Token::BraceClose => false,
    }
}
