//! `report.html`: one file that needs no other, no network and no script. Plots are inline SVG; the
//! page follows the reader's choice of light or dark, and prints.

mod chart;
mod graph;
mod page;
mod plots;
mod tables;
mod text;
mod tree;

pub use page::html;
