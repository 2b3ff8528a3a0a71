//! Tests of a whole store.

mod damage;
mod holes;
