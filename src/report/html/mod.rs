//! `report.html`: one self-contained file that needs no network and no script. Plots are inline
//! SVG; the page follows the reader's choice of light or dark mode, and can be printed.

mod chart;
mod graph;
mod page;
mod plots;
mod tables;
mod tree;

pub use page::html;
