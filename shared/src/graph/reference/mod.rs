//! The fields of a graph's file, kind by kind, as one table: the JSON Schema that editors complete by, and the page
//! `docs/nodes.md`, are both made of it.
//!
//! It describes the file as people write it, short forms included, which the types of the model do not: they are what
//! is stored. `every_field_that_a_reader_knows_is_in_the_table` holds it to the readers.

mod calls;
mod field;
mod kinds;
mod page;
mod policy;
mod schema;
mod shape;
#[cfg(test)]
mod tests;
mod vector;
mod whole;

pub(super) use kinds::names_of_fields;
pub use page::page;
pub use schema::schema;
