//! Weighs the statements of templates.
//!
//! What is emitted goes to a writer that refuses more than a result may have, so it is bounded whatever it is. What is
//! captured does not: captures are heavy.

use std::collections::BTreeMap;

use minijinja::machinery::ast::{Expr, ForLoop, Set, Stmt};

use super::expression::Weigher;
use super::shape::{Heavy, Shape};
use crate::expr::names;

impl<'a> Weigher<'a> {
    /// Notes the names that are assigned to anywhere below.
    pub(super) fn note_assigned(&mut self, tree: &Stmt<'a>) {
        match tree {
            Stmt::Template(template) => self.note_all(&template.children),
            Stmt::ForLoop(each) => {
                self.note_all(&each.body);
                self.note_all(&each.else_body);
            }
            Stmt::IfCond(choice) => {
                self.note_all(&choice.true_body);
                self.note_all(&choice.false_body);
            }
            Stmt::WithBlock(with) => self.note_all(&with.body),
            Stmt::Set(set) => self.assigned.extend(names::targets(&set.target)),
            // These assign nothing, or are heavy in any case.
            Stmt::EmitExpr(_)
            | Stmt::EmitRaw(_)
            | Stmt::Do(_)
            | Stmt::SetBlock(_)
            | Stmt::AutoEscape(_)
            | Stmt::FilterBlock(_) => {}
        }
    }

    fn note_all(&mut self, trees: &[Stmt<'a>]) {
        for tree in trees {
            self.note_assigned(tree);
        }
    }

    pub(super) fn stmt(&mut self, tree: &Stmt<'a>) -> Result<(), Heavy> {
        match tree {
            Stmt::Template(template) => self.block(BTreeMap::new(), &template.children),
            Stmt::EmitExpr(emit) => self.expr(&emit.expr).map(drop),
            Stmt::EmitRaw(_) => Ok(()),
            Stmt::ForLoop(each) => self.each_of(each),
            Stmt::IfCond(choice) => {
                self.expr(&choice.expr)?;
                self.body(&choice.true_body)?;
                self.body(&choice.false_body)
            }
            Stmt::WithBlock(with) => {
                let mut bound = BTreeMap::new();
                for (target, value) in &with.assignments {
                    let shape = self.expr(value)?;
                    bound.extend(names::targets(target).into_iter().map(|name| (name, shape.part())));
                }
                self.block(bound, &with.body)
            }
            Stmt::Set(set) => self.set(set),
            Stmt::SetBlock(_) | Stmt::AutoEscape(_) | Stmt::FilterBlock(_) | Stmt::Do(_) => Err(Heavy),
        }
    }

    fn body(&mut self, body: &[Stmt<'a>]) -> Result<(), Heavy> {
        body.iter().try_for_each(|tree| self.stmt(tree))
    }

    fn block(&mut self, bound: BTreeMap<&'a str, Shape>, body: &[Stmt<'a>]) -> Result<(), Heavy> {
        self.blocks.push(bound);
        let weighed = self.body(body);
        self.blocks.pop();
        weighed
    }

    fn each_of(&mut self, each: &ForLoop<'a>) -> Result<(), Heavy> {
        if each.recursive {
            return Err(Heavy);
        }
        let list = self.expr(&each.iter)?;
        self.walk(list)?;
        // All items together are no more than the list, each time that the list is gone through.
        let item = Shape { home: list.home.saturating_add(1), ..list.part() };
        let bound = names::targets(&each.target).into_iter().map(|name| (name, item)).collect();
        self.depth += 1;
        self.blocks.push(bound);
        let weighed = match &each.filter_expr {
            Some(filter) => self.expr(filter).map(drop),
            None => Ok(()),
        };
        let weighed = weighed.and_then(|()| self.body(&each.body));
        self.blocks.pop();
        self.depth -= 1;
        weighed?;
        self.block(BTreeMap::new(), &each.else_body)
    }

    /// Where a name is assigned to in a loop, it could be made from what it was the round before, and grow with each round.
    fn set(&mut self, set: &Set<'a>) -> Result<(), Heavy> {
        if self.depth > 0 && self.reads_assigned(&set.expr) {
            return Err(Heavy);
        }
        let shape = self.expr(&set.expr)?;
        for name in names::targets(&set.target) {
            let before = self.blocks.iter().rev().find_map(|block| block.get(name)).copied();
            // Whether a branch is taken is not known: it may still be what it was.
            let shape = before.map_or(shape, |before| before.or(shape));
            if let Some(innermost) = self.blocks.last_mut() {
                innermost.insert(name, shape);
            }
        }
        Ok(())
    }

    fn reads_assigned(&self, tree: &Expr<'a>) -> bool {
        names::of_expression(tree).free.iter().any(|name| self.assigned.contains(name))
    }
}
