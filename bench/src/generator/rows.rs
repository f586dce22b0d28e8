//! The same rows as the product's, into a table of the same kind, by multi-row inserts and nothing around them.
//!
//! In: a table that holds enough rows. Out: how many rows per second Postgres takes of such. Column types are read
//! from the catalogue, so that the table may change without this.

use std::{sync::Arc, time::Instant};

use anyhow::{Context as _, ensure};
use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, Postgres, Row as _, ValueRef as _,
    encode::{Encode, IsNull},
    postgres::{PgArgumentBuffer, PgRow, PgTypeInfo, PgValueFormat, types::Oid},
    types::Type,
};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::meter::{Meter, Signals};
use crate::load::{Outcome, Rows};

const TABLE: &str = "bench_rows";

/// A column and its values in the rows that are repeated.
#[derive(Debug)]
struct Column {
    name: String,
    /// `uuid[]` and the like, as SQL writes it.
    array: String,
    element: Oid,
    array_oid: Oid,
    /// Part of the primary key, and a UUID: each row gets another.
    is_id: bool,
    values: Vec<Option<Vec<u8>>>,
}

pub(super) async fn run(load: Rows, signals: Signals) -> anyhow::Result<Outcome> {
    let mut database = PgConnection::connect(&load.database_url).await?;
    let columns = Arc::new(columns(&mut database, &load).await?);
    for statement in [
        format!("DROP TABLE IF EXISTS {TABLE}"),
        format!("CREATE TABLE {TABLE} (LIKE {} INCLUDING ALL)", load.like),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut database).await?;
    }
    let meter = Meter::default();
    let mut tasks = JoinSet::new();
    for _ in 0..load.connections {
        let connection = PgConnection::connect(&load.database_url).await?;
        tasks.spawn(insert(connection, columns.clone(), meter.clone()));
    }
    let outcome = tokio::select! {
        outcome = meter.measure(load.window, signals) => outcome?,
        Some(ended) = tasks.join_next() => {
            ended??;
            anyhow::bail!("an inserter ended");
        }
    };
    tasks.shutdown().await;
    sqlx::query(AssertSqlSafe(format!("DROP TABLE {TABLE}"))).execute(&mut database).await?;
    Ok(outcome)
}

/// The columns that are written, with the values of some rows.
async fn columns(database: &mut PgConnection, load: &Rows) -> anyhow::Result<Vec<Column>> {
    let catalogue = "SELECT a.attname::text, format_type(t.typarray, NULL), t.oid, t.typarray, \
            t.typname = 'uuid' AND coalesce(a.attnum = ANY (i.indkey), false) \
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
        LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary \
        WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped \
            AND a.attgenerated = '' AND a.attidentity = '' ORDER BY a.attnum";
    let described = sqlx::query(catalogue).bind(&load.like).fetch_all(&mut *database).await?;
    let mut columns = Vec::with_capacity(described.len());
    for row in described {
        columns.push(Column {
            name: row.try_get(0)?,
            array: row.try_get(1)?,
            element: row.try_get(2)?,
            array_oid: row.try_get(3)?,
            is_id: row.try_get(4)?,
            values: Vec::with_capacity(load.per_statement),
        });
    }
    let names = names(&columns);
    let select = format!("SELECT {names} FROM {} LIMIT {}", load.like, load.per_statement);
    let rows = sqlx::query(AssertSqlSafe(select)).fetch_all(database).await?;
    ensure!(
        rows.len() == load.per_statement,
        "{} holds {} rows of {}",
        load.like,
        rows.len(),
        load.per_statement
    );
    for row in &rows {
        for (place, column) in columns.iter_mut().enumerate() {
            column.values.push(value(row, place)?);
        }
    }
    Ok(columns)
}

fn value(row: &PgRow, place: usize) -> anyhow::Result<Option<Vec<u8>>> {
    let value = row.try_get_raw(place)?;
    if value.is_null() {
        return Ok(None);
    }
    ensure!(value.format() == PgValueFormat::Binary, "a value that is not binary");
    let bytes = value.as_bytes().map_err(anyhow::Error::from_boxed).context("a value without bytes")?;
    Ok(Some(bytes.to_vec()))
}

async fn insert(mut database: PgConnection, columns: Arc<Vec<Column>>, meter: Meter) -> anyhow::Result<()> {
    let arrays =
        columns.iter().enumerate().map(|(place, column)| format!("${}::{}", place + 1, column.array));
    let arrays = arrays.collect::<Vec<_>>().join(", ");
    let statement = format!("INSERT INTO {TABLE} ({}) SELECT * FROM unnest({arrays})", names(&columns));
    let rows = columns.first().context("a table without columns")?.values.len();
    loop {
        let began = Instant::now();
        let mut query = sqlx::query(AssertSqlSafe(statement.clone()));
        for column in columns.iter() {
            query = query.bind(Array::of(column)?);
        }
        query.execute(&mut database).await?;
        meter.done(rows as u64, began.elapsed());
    }
}

fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| format!("\"{}\"", column.name)).collect::<Vec<_>>().join(", ")
}

/// An array in Postgres' binary format (`array_recv`): dimensions, whether there are nulls, the element's type, the
/// length, the lower bound, then each element with its length.
struct Array {
    oid: Oid,
    bytes: Vec<u8>,
}

impl Array {
    fn of(column: &Column) -> anyhow::Result<Self> {
        let nulls = column.values.iter().any(Option::is_none);
        let length = i32::try_from(column.values.len())?;
        let mut bytes = Vec::new();
        bytes.extend(1_i32.to_be_bytes());
        bytes.extend(i32::from(nulls).to_be_bytes());
        bytes.extend(column.element.0.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend(1_i32.to_be_bytes());
        for value in &column.values {
            let id = column.is_id.then(Uuid::now_v7);
            let value = id.as_ref().map(|id| id.as_bytes().as_slice()).or(value.as_deref());
            bytes.extend(value.map_or(Ok(-1), |value| i32::try_from(value.len()))?.to_be_bytes());
            bytes.extend(value.unwrap_or_default());
        }
        Ok(Self { oid: column.array_oid, bytes })
    }
}

impl Type<Postgres> for Array {
    fn type_info() -> PgTypeInfo {
        // never asked for: each value says its own
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl Encode<'_, Postgres> for Array {
    fn encode_by_ref(
        &self,
        buffer: &mut PgArgumentBuffer,
    ) -> Result<IsNull, Box<dyn std::error::Error + Send + Sync + 'static>> {
        buffer.extend_from_slice(&self.bytes);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(self.oid))
    }
}
