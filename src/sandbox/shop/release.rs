//! What each release of the shop knows of its schema, and the SQL it really runs on it.

/// A release of the shop. Every release was written for one schema and knows no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The first: orders of an item.
    V1_1,
    /// Orders have a customer.
    V1_2,
    /// An item is called a product, and orders are paid for.
    V1_3,
}

/// Every table that any release has, so that one of a newer release is noticed.
pub(super) const TABLES: [&str; 2] = ["orders", "payments"];

impl Release {
    /// All releases, oldest first.
    pub const ALL: [Self; 3] = [Self::V1_1, Self::V1_2, Self::V1_3];

    /// The release of this version; `None` for one that was never built.
    pub fn of(version: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|release| release.version() == version)
    }

    /// Its version, as image tags spell it.
    pub fn version(self) -> &'static str {
        match self {
            Self::V1_1 => "1.1.0",
            Self::V1_2 => "1.2.0",
            Self::V1_3 => "1.3.0",
        }
    }

    /// The columns it expects a table of `TABLES` to have, sorted; none where it knows no such table.
    pub(super) fn columns(self, table: &str) -> &'static [&'static str] {
        match (self, table) {
            (Self::V1_1, "orders") => &["id", "item", "quantity"],
            (Self::V1_2, "orders") => &["customer", "id", "item", "quantity"],
            (Self::V1_3, "orders") => &["customer", "id", "product", "quantity"],
            (Self::V1_3, "payments") => &["amount", "id", "order_id"],
            _ => &[],
        }
    }

    /// What it calls the thing that is ordered.
    pub(super) fn item(self) -> &'static str {
        match self {
            Self::V1_1 | Self::V1_2 => "item",
            Self::V1_3 => "product",
        }
    }

    /// Lists orders: id, item, quantity, customer, amount paid. The casts make both engines agree on the types.
    pub(super) fn list(self) -> &'static str {
        match self {
            Self::V1_1 => {
                "SELECT CAST(id AS bigint), item, CAST(quantity AS bigint), CAST(NULL AS text), CAST(0 AS bigint) \
                 FROM orders ORDER BY id"
            }
            Self::V1_2 => {
                "SELECT CAST(id AS bigint), item, CAST(quantity AS bigint), customer, CAST(0 AS bigint) \
                 FROM orders ORDER BY id"
            }
            Self::V1_3 => {
                "SELECT CAST(o.id AS bigint), o.product, CAST(o.quantity AS bigint), o.customer, \
                 CAST(COALESCE((SELECT SUM(p.amount) FROM payments p WHERE p.order_id = o.id), 0) AS bigint) \
                 FROM orders o ORDER BY o.id"
            }
        }
    }

    /// Adds an order under the next id, which it returns; binds item, quantity and, from 1.2.0 on, the customer.
    pub(super) fn insert(self) -> &'static str {
        match self {
            Self::V1_1 => {
                "INSERT INTO orders (id, item, quantity) \
                 SELECT COALESCE(MAX(id), 0) + 1, $1, $2 FROM orders RETURNING CAST(id AS bigint)"
            }
            Self::V1_2 => {
                "INSERT INTO orders (id, item, quantity, customer) \
                 SELECT COALESCE(MAX(id), 0) + 1, $1, $2, $3 FROM orders RETURNING CAST(id AS bigint)"
            }
            Self::V1_3 => {
                "INSERT INTO orders (id, product, quantity, customer) \
                 SELECT COALESCE(MAX(id), 0) + 1, $1, $2, $3 FROM orders RETURNING CAST(id AS bigint)"
            }
        }
    }

    /// Records a payment for an order; binds the order's id and the amount. Releases before 1.3.0 take no money.
    pub(super) fn pay(self) -> Option<&'static str> {
        (self == Self::V1_3).then_some(
            "INSERT INTO payments (id, order_id, amount) \
             SELECT COALESCE(MAX(id), 0) + 1, CAST($1 AS integer), CAST($2 AS integer) FROM payments",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_was_never_built_is_no_release() {
        assert_eq!(Release::of("1.2.0"), Some(Release::V1_2));
        assert_eq!(Release::of("1.4.0"), None);
        assert_eq!(Release::of("1.2.0-bad"), None);
    }

    #[test]
    fn expected_columns_are_sorted() {
        for release in Release::ALL {
            for table in TABLES {
                assert!(release.columns(table).is_sorted(), "{release:?} {table}");
            }
        }
    }
}
