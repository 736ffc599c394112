use crate::DECLARED;
use crate::table::ROWS;

#[test]
fn every_row_is_declared_in_the_order_of_the_table() {
    let rows: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
    assert_eq!(rows, DECLARED);
}
