//! The bound on the memory of queries. All queries of a process share it, so this test has a process alone.
#![forbid(unsafe_code)]

use banyan_tables::{QueryError, query};

#[test]
fn a_query_that_sorts_more_than_fits_is_ended() {
    let sql = "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x LIMIT 9000000)
        SELECT count(*) FROM (SELECT printf('%100d', n) AS w FROM x ORDER BY w LIMIT 8000000)";
    let result = query(&[], &[], sql, None, || true, &mut |_| Ok(()));
    assert!(matches!(result, Err(QueryError::Memory)), "{result:?}");
    assert!(query(&[], &[], "SELECT 1", None, || true, &mut |_| Ok(())).is_ok());
}
