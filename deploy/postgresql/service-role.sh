# Creates the role of the service. The image of PostgreSQL runs this file once, see docker-compose.yml.
psql --set=ON_ERROR_STOP=1 --no-psqlrc --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" <<'SQL'
\getenv password SERVICE_PASSWORD
create role scsp_service login password :'password';
SQL
