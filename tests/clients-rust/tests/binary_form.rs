//! The binary form through tokio-postgres: parameters, results, arrays, COPY, and what is refused.

use std::env;
use std::pin::pin;

use clients_rust::{Bytes, MrlVec};
use futures_util::{StreamExt, TryStreamExt, pin_mut};
use half::f16;
use tokio_postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutStream};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// A session on the cluster that PGHOST and PGPORT name, with the extension in place.
async fn connect() -> Client {
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let mut config = tokio_postgres::Config::new();
    config.host_path(variable("PGHOST")).port(variable("PGPORT").parse().unwrap());
    config.user(variable("PGUSER")).dbname("postgres");
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    // Tests run at the same time: one of them creates it, the others wait for its commit.
    client
        .batch_execute(
            "SELECT pg_advisory_xact_lock(1); SET client_min_messages = warning;
             CREATE EXTENSION IF NOT EXISTS pg_mrl",
        )
        .await
        .unwrap();
    client
}

async fn mrlvec(client: &Client) -> Type {
    client.prepare("SELECT $1::mrlvec").await.unwrap().params()[0].clone()
}

/// Every kind of number that a half can be, in vectors of every kind of length.
fn vectors() -> Vec<MrlVec> {
    let mut state = 1u32;
    let mut finite_bits = move || {
        loop {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let half = f16::from_bits((state >> 16) as u16);
            if half.is_finite() {
                return half;
            }
        }
    };
    let mut vectors: Vec<MrlVec> = [1, 2, 3, 31, 64, 384, 768, 15_999, 16_000]
        .into_iter()
        .map(|dimensions| MrlVec((0..dimensions).map(|_| finite_bits()).collect()))
        .collect();
    let extremes = [0x0000, 0x8000, 0x0001, 0x8001, 0x03ff, 0x0400, 0x7bff, 0xfbff, 0x3c00];
    vectors.push(MrlVec(extremes.map(f16::from_bits).to_vec()));
    vectors
}

#[tokio::test(flavor = "current_thread")]
async fn parameters_and_results_keep_every_bit() {
    let client = connect().await;
    for vector in vectors() {
        let statement = "SELECT $1::mrlvec, $1::mrlvec::text::mrlvec";
        let row = client.query_one(statement, &[&vector]).await.unwrap();
        assert_eq!(row.get::<_, MrlVec>(0).bits(), vector.bits());
        // By way of the text form too.
        assert_eq!(row.get::<_, MrlVec>(1).bits(), vector.bits());
    }
    let none = client.query_one("SELECT $1::mrlvec", &[&None::<MrlVec>]).await.unwrap();
    assert_eq!(none.get::<_, Option<MrlVec>>(0), None);
}

#[tokio::test(flavor = "current_thread")]
async fn binary_and_text_mean_the_same() {
    let client = connect().await;
    client.batch_execute("CREATE TEMPORARY TABLE item (v mrlvec)").await.unwrap();
    let vector = MrlVec([1.0, -0.5, 0.0999755859375].map(f16::from_f64).to_vec());
    client.execute("INSERT INTO item VALUES ($1)", &[&vector]).await.unwrap();
    let messages = client.simple_query("SELECT v FROM item").await.unwrap();
    let SimpleQueryMessage::Row(row) = &messages[1] else { panic!("{messages:?}") };
    assert_eq!(row.get(0), Some("[1,-0.5,0.099975586]"));
    let row = client.query_one("SELECT '[1,-0.5,0.1]'::mrlvec", &[]).await.unwrap();
    assert_eq!(row.get::<_, MrlVec>(0), vector);
}

#[tokio::test(flavor = "current_thread")]
async fn arrays() {
    let client = connect().await;
    let sent: Vec<Option<MrlVec>> = vectors().into_iter().map(Some).chain([None]).collect();
    let row = client.query_one("SELECT $1::mrlvec[]", &[&sent]).await.unwrap();
    assert_eq!(row.get::<_, Vec<Option<MrlVec>>>(0), sent);
}

#[tokio::test(flavor = "current_thread")]
async fn nearest_rows_by_a_prepared_statement() {
    let client = connect().await;
    client
        .batch_execute(
            "CREATE TEMPORARY TABLE item (id int, v mrlvec(2));
             INSERT INTO item SELECT i, ARRAY[cos(i), sin(i)]::mrlvec FROM generate_series(1, 100) i",
        )
        .await
        .unwrap();
    let statement = client.prepare("SELECT id FROM item ORDER BY v <#> $1 LIMIT 3").await.unwrap();
    assert_eq!(statement.params()[0].name(), "mrlvec");
    // The angles nearest to that of 44: 44 radians are 7 turns and 0.0177, so are 0.0177 apart.
    let asked = MrlVec([44f64.cos(), 44f64.sin()].map(f16::from_f64).to_vec());
    let rows = client.query(&statement, &[&asked]).await.unwrap();
    let mut ids: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    ids.sort_unstable();
    assert_eq!(ids[1], 44);
    assert_eq!(ids.len(), 3);
    // A shorter query is compared at the leading dimensions.
    let short = MrlVec(vec![f16::ONE]);
    assert_eq!(client.query(&statement, &[&short]).await.unwrap().len(), 3);
}

#[tokio::test(flavor = "current_thread")]
async fn copy_in_and_out() {
    let client = connect().await;
    let kind = mrlvec(&client).await;
    client.batch_execute("CREATE TEMPORARY TABLE item (id int, v mrlvec)").await.unwrap();
    let sent: Vec<MrlVec> = vectors().into_iter().cycle().take(1000).collect();
    let sink = client.copy_in("COPY item FROM STDIN (FORMAT binary)").await.unwrap();
    let writer = BinaryCopyInWriter::new(sink, &[Type::INT4, kind.clone()]);
    pin_mut!(writer);
    for (id, vector) in (0i32..).zip(&sent) {
        writer.as_mut().write(&[&id, vector]).await.unwrap();
    }
    assert_eq!(writer.finish().await.unwrap(), 1000);
    let stream = client
        .copy_out("COPY (SELECT id, v FROM item ORDER BY id) TO STDOUT (FORMAT binary)")
        .await
        .unwrap();
    let rows: Vec<_> =
        BinaryCopyOutStream::new(stream, &[Type::INT4, kind]).try_collect().await.unwrap();
    assert_eq!(rows.len(), 1000);
    for (row, vector) in rows.iter().zip(&sent) {
        assert_eq!(row.get::<MrlVec>(1).bits(), vector.bits());
    }
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_no_vector_is_refused_and_the_session_goes_on() {
    let client = connect().await;
    client.batch_execute("CREATE TEMPORARY TABLE item (v mrlvec(3))").await.unwrap();
    let cases: [(&[u8], SqlState, &str); 16] = [
        (b"", SqlState::PROTOCOL_VIOLATION, "insufficient data left in message"),
        (b"\0", SqlState::PROTOCOL_VIOLATION, "insufficient data left in message"),
        (b"\0\x01", SqlState::PROTOCOL_VIOLATION, "insufficient data left in message"),
        (b"\0\x01\0\0", SqlState::PROTOCOL_VIOLATION, "insufficient data left in message"),
        (b"\0\x01\0\0\x3c", SqlState::PROTOCOL_VIOLATION, "insufficient data left in message"),
        (
            b"\0\x03\0\0\x3c\0\x3c\0",
            SqlState::PROTOCOL_VIOLATION,
            "insufficient data left in message",
        ),
        (
            b"\0\x01\0\0\x3c\0\x3c",
            SqlState::INVALID_BINARY_REPRESENTATION,
            "incorrect binary data format in bind parameter 1",
        ),
        (
            b"\0\x01\0\0\x3c\0\x3c\0",
            SqlState::INVALID_BINARY_REPRESENTATION,
            "incorrect binary data format in bind parameter 1",
        ),
        (b"\0\0\0\0", SqlState::DATA_EXCEPTION, "mrlvec must have at least 1 dimension"),
        (b"\0\x01\0\x01\x3c\0", SqlState::DATA_EXCEPTION, "expected unused to be 0, not 1"),
        (b"\0\x01\xff\xff\x3c\0", SqlState::DATA_EXCEPTION, "expected unused to be 0, not "),
        (
            b"\x3e\x81\0\0",
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            "mrlvec cannot have more than 16000 dimensions",
        ),
        // The count is a signed number, as halfvec's is.
        (b"\xff\xff\0\0", SqlState::DATA_EXCEPTION, "mrlvec must have at least 1 dimension"),
        (b"\0\x02\0\0\x3c\0\x7e\0", SqlState::DATA_EXCEPTION, "NaN not allowed in mrlvec"),
        (b"\0\x01\0\0\x7c\0", SqlState::DATA_EXCEPTION, "infinite value not allowed in mrlvec"),
        (b"\0\x01\0\0\xfc\0", SqlState::DATA_EXCEPTION, "infinite value not allowed in mrlvec"),
    ];
    for (bytes, code, message) in cases {
        let error = client.query("SELECT $1::mrlvec", &[&Bytes(bytes.to_vec())]).await.unwrap_err();
        let error = error.as_db_error().unwrap_or_else(|| panic!("{error}"));
        assert_eq!((error.code(), bytes), (&code, bytes), "{}", error.message());
        assert!(error.message().starts_with(message), "{}", error.message());
        let row = client.query_one("SELECT '[1]'::mrlvec", &[]).await.unwrap();
        assert_eq!(row.get::<_, MrlVec>(0).0, [f16::ONE]);
    }
    let two = MrlVec(vec![f16::ONE; 2]);
    let error = client.execute("INSERT INTO item VALUES ($1)", &[&two]).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code(), &SqlState::DATA_EXCEPTION);
    assert_eq!(error.message(), "expected 3 dimensions, not 2");
}

#[tokio::test(flavor = "current_thread")]
async fn a_damaged_row_of_a_copy_is_refused() {
    let client = connect().await;
    let kind = mrlvec(&client).await;
    client.batch_execute("CREATE TEMPORARY TABLE item (v mrlvec)").await.unwrap();
    for bytes in [&b"\0\x02\0\0\x3c\0"[..], b"\0\x01\0\0\x3c\0\0\0", b"\0\x01\0\0\x7c\0"] {
        let sink = client.copy_in("COPY item FROM STDIN (FORMAT binary)").await.unwrap();
        let mut writer = pin!(BinaryCopyInWriter::new(sink, std::slice::from_ref(&kind)));
        writer.as_mut().write(&[&MrlVec(vec![f16::ONE])]).await.unwrap();
        writer.as_mut().write(&[&Bytes(bytes.to_vec())]).await.unwrap();
        assert!(writer.finish().await.unwrap_err().as_db_error().is_some());
        let count = client.query_one("SELECT count(*) FROM item", &[]).await.unwrap();
        assert_eq!(count.get::<_, i64>(0), 0);
    }
    let rows = client.query_raw::<_, i32, _>("SELECT 1", []).await.unwrap();
    assert_eq!(pin!(rows).count().await, 1);
}
