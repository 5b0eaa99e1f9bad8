"""Memory: the pool, the migrations, and one module a table family. Every SQL statement stands in here or in sql/."""
