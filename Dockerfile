# PostgreSQL 15 on Debian 12 with pg_mrl and all-MiniLM-L6-v2 (about 90 MB) in place:
#
#   docker build -t pg_mrl .
#   docker run --name mrl -e POSTGRES_PASSWORD=secret -p 5432:5432 -d pg_mrl
#   psql -h localhost -U postgres -c 'CREATE EXTENSION pg_mrl'
#
# What is built and installed is the Makefile's business: what `make` proves, this uses.
FROM rust:1.95-bookworm AS build
WORKDIR /pg_mrl
COPY . .
RUN make deps PG_MAJOR=15
RUN make install PG_MAJOR=15
RUN make model MODEL=all-MiniLM-L6-v2 PG_MAJOR=15

# The official image keeps its files where Debian's packages do, and the binary interface of a
# server does not change within a release: what was built for Debian's fits.
FROM postgres:15-bookworm
COPY --from=build /usr/lib/postgresql/15/lib/pg_mrl.so /usr/lib/postgresql/15/lib/
COPY --from=build /usr/share/postgresql/15/extension/pg_mrl* /usr/share/postgresql/15/extension/
COPY --from=build /usr/share/postgresql/15/pg_mrl/ /usr/share/postgresql/15/pg_mrl/
