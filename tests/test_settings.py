import pytest

from recto.settings import DevelopmentSettings, Settings, SettingsError

GOOD = {"DATABASE_URL": "postgresql://x", "OPENROUTER_API_KEY": "key", "SUPABASE_JWT_SECRET": "secret"}


@pytest.fixture
def environment(monkeypatch):
    def set_(**values):
        for name, value in (GOOD | values).items():
            monkeypatch.setenv(name, value)

    return set_


def test_three_values_are_enough(environment):
    environment()
    settings = Settings.load()
    assert settings.openrouter_timeout_ms == 30_000
    assert [(rule.amount, rule.get_expiry()) for rule in settings.limits_per_user] == [(5, 300)]
    assert [(rule.amount, rule.get_expiry()) for rule in settings.limits_per_ip] == [(30, 300)]


def test_a_rate_limit_may_have_several_rules_and_each_counts_once(environment):
    environment(RATE_LIMIT_PER_USER="5 per minute; 100 per day; 5/minute", RATE_LIMIT_PER_IP="1 per hour, 1 per hour")
    settings = Settings.load()
    assert [(rule.amount, rule.get_expiry()) for rule in settings.limits_per_user] == [(5, 60), (100, 86_400)]
    assert [(rule.amount, rule.get_expiry()) for rule in settings.limits_per_ip] == [(1, 3600)]


def test_each_missing_or_bad_value_has_a_line(environment):
    environment(DATABASE_URL="", OPENROUTER_TIMEOUT_MS="soon", RATE_LIMIT_PER_USER="a few", SUPABASE_URL="project")
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert {line.split(":")[0] for line in str(caught.value).splitlines()} == {
        "DATABASE_URL",
        "OPENROUTER_TIMEOUT_MS",
        "SUPABASE_URL",
        "RATE_LIMIT_PER_USER",
    }


def test_without_a_source_of_keys_nothing_starts(environment):
    environment(SUPABASE_JWT_SECRET="")
    with pytest.raises(SettingsError, match="SUPABASE_JWT_SECRET or SUPABASE_URL"):
        Settings.load()


def test_secrets_are_not_shown(environment):
    environment(OPENROUTER_API_KEY="sk-or-v1-abc", SUPABASE_JWT_SECRET="hush hush")
    assert "abc" not in repr(Settings.load())
    assert "hush" not in repr(Settings.load())


def test_lists_are_separated_by_commas(environment):
    environment(OPENROUTER_FALLBACK_MODELS="a/one, b/two,", CORS_ORIGINS="https://app.example")
    settings = Settings.load()
    assert settings.openrouter_fallback_models == ("a/one", "b/two")
    assert settings.cors_origins == ("https://app.example",)


def test_addresses_lose_their_trailing_slash(environment):
    environment(SUPABASE_URL="https://project.supabase.co/", OPENROUTER_BASE_URL="http://127.0.0.1:1234/v1/")
    settings = Settings.load()
    assert settings.supabase_url == "https://project.supabase.co"
    assert settings.openrouter_base_url == "http://127.0.0.1:1234/v1"


def test_root_keeps_its_database_out_of_its_home(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert str(DevelopmentSettings.load().recto_data_dir) == "/var/lib/recto"
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert str(DevelopmentSettings.load().recto_data_dir) == "/home/somebody/.local/share/recto"
