use std::time::Duration;

use super::*;

fn load_with(
    arguments: &[&str],
    environment: &[(&str, &str)],
    file: Option<&str>,
) -> Result<(Config, Vec<String>), Vec<String>> {
    let folder = std::env::temp_dir().join(format!("tokenecho-config-{:x}", rand::random::<u64>()));
    std::fs::create_dir(&folder).expect("a temporary folder");
    let path = folder.join("c.yaml");
    let mut arguments: Vec<OsString> =
        ["tokenecho"].iter().chain(arguments).map(|argument| argument.to_string().into()).collect();
    if let Some(file) = file {
        std::fs::write(&path, file).expect("a config file");
        arguments.extend(["--config".into(), path.clone().into()]);
    }
    let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    let loaded = load(arguments, environment);
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
    match loaded {
        Ok(Loaded { action: Action::Serve(config), notes }) => Ok((config, notes)),
        Ok(_) => panic!("a health check was not asked for"),
        Err(LoadError::CommandLine(error)) => Err(vec![error.to_string()]),
        Err(LoadError::Settings(errors)) => {
            let path = format!("{}", path.display());
            Err(errors.iter().map(|error| error.to_string().replace(&path, "c.yaml")).collect())
        }
    }
}

#[test]
fn a_flag_goes_before_a_variable_and_a_variable_before_the_file() {
    let file = Some("itl: 3ms\nttft: 3ms\nmodel: [a, b]\nreply-prefix: file\n");
    let environment = [("TOKENECHO_ITL", "2ms"), ("TOKENECHO_TTFT", "2ms"), ("TOKENECHO_MODEL", "c,d")];

    let (config, _) = load_with(&["--itl", "1ms"], &environment, file).expect("a config");

    assert_eq!(config.service.simulation.itl, Duration::from_millis(1));
    assert_eq!(config.service.simulation.ttft, Duration::from_millis(2));
    assert_eq!(config.service.models.model, ["c", "d"]);
    assert_eq!(config.service.reply_prefix, "file");
}

#[test]
fn a_file_sets_everything_a_flag_can() {
    let file = "
# scalars are the option's to read, whatever YAML would make of them
port: 8080
model:
  - 0123
  - 1e5
  - 'a: b'
any-key: true
limits:
  max-body: 1MiB
  max-generations: 7
";
    let (config, _) = load_with(&[], &[], Some(file)).expect("a config");

    assert_eq!(config.service.models.model, ["0123", "1e5", "a: b"]);
    assert!(config.auth.any_key);
    assert_eq!(config.limits.requests.max_body, 1 << 20);
    assert_eq!(config.limits.requests.max_generations, 7);
}

#[test]
fn all_errors_of_file_and_environment_are_reported_at_once_with_their_places() {
    let file = "itl: soon\nno-such: 1\nlimits:\n  max-body: 5\n  port: 3\nmax-generations: 3\nttft:\n";

    let errors = load_with(&[], &[("TOKENECHO_PORT", "99999"), ("TOKENECHO_VALIDATION", "hard")], Some(file))
        .expect_err("errors");

    insta::assert_snapshot!(errors.join("\n"), @r"
    TOKENECHO_PORT: `99999` is not a port from 0 to 65535
    TOKENECHO_VALIDATION: invalid value 'hard' for '--validation <MODE>' [possible values: lenient, default, strict]
    c.yaml:1: itl: `soon` is not a duration with a unit, such as 50ms or 2s
    c.yaml:2: no-such: there is no such option
    c.yaml:4: limits.max-body: `5` is not a size with a unit, such as 512KiB or 32MiB
    c.yaml:5: limits.port: it is not a limit
    c.yaml:6: max-generations: it belongs under `limits:`
    c.yaml:7: ttft: it has no value
    ");
}

#[test]
fn a_key_that_cannot_be_read_is_not_shown() {
    for errors in [
        load_with(&[], &[("TOKENECHO_API_KEY", "marked secret")], None).expect_err("an error"),
        load_with(&["--api-key", "marked secret"], &[], None).expect_err("an error"),
        load_with(&[], &[], Some("api-key: marked secret")).expect_err("an error"),
    ] {
        assert!(!errors.concat().contains("marked"), "{errors:?}");
        assert!(errors.concat().contains("visible ASCII"), "{errors:?}");
    }
}

#[test]
fn a_file_that_is_not_yaml_is_not_shown_either() {
    for file in [
        "api-key: marked-secret\nitl: [\n",
        "api-key: marked-secret\n\titl: 1\n",
        "marked-secret",
        "- marked-secret",
        "api-key: marked-secret\napi-key: marked-other\n",
        "api-key: *marked-secret",
    ] {
        let errors = load_with(&[], &[], Some(file)).expect_err("an error");
        assert!(!errors.concat().contains("marked"), "{errors:?}");
    }
}

#[test]
fn an_empty_list_of_keys_is_refused() {
    assert!(load_with(&[], &[], Some("api-key: []")).is_err());
    assert!(load_with(&[], &[("TOKENECHO_API_KEY", ",")], None).is_err());
    assert!(load_with(&[], &[], Some("limits:")).is_err());
    assert!(load_with(&[], &[], Some("---\n")).is_ok());
}

#[test]
fn a_service_link_of_kubernetes_is_ignored() {
    let (config, notes) =
        load_with(&[], &[("TOKENECHO_PORT", "tcp://10.0.0.1:8000"), ("TOKENECHO_PORT_8000_TCP", "x")], None)
            .expect("a config");

    assert_eq!(config.listeners.port, Config::default().listeners.port);
    assert_eq!(notes, ["TOKENECHO_PORT is a Kubernetes service link, not an option: ignored"]);
}

#[test]
fn unknown_variables_are_one_warning_that_names_the_nearest_options() {
    let variables = [
        ("TOKENECHO_ITLL", "1ms"),
        ("TOKENECHO_FOO", "x"),
        ("TOKENECHO_SERVICE_HOST", "10.0.0.1"),
        ("TOKENECHO_SERVICE_PORT_HTTP", "8000"),
        ("TOKENECHO_PORT_8000_TCP_ADDR", "10.0.0.1"),
        ("TOKENECHO_ADMIN_SERVICE_HOST", "10.0.0.1"),
        ("TOKENECHO_DEV_PORT", "tcp://10.0.0.1:8000"),
        ("TOKENECHO_DEV_PORT_8000_TCP_PROTO", "tcp"),
        ("TOKENECHO_BUILD_COMMIT", "abc"),
    ];

    let (_, notes) = load_with(&[], &variables, None).expect("they stop no start");

    assert_eq!(
        notes,
        ["unknown variables are ignored: TOKENECHO_ITLL (did you mean TOKENECHO_ITL?), TOKENECHO_FOO"]
    );
}

#[test]
fn a_port_that_is_not_a_number_is_told_what_a_port_is() {
    for (flag, message) in [
        ("--port", "`abc` is not a port from 0 to 65535"),
        ("--grpc-port", "nor off"),
        ("--admin-port", "nor off"),
    ] {
        let errors = load_with(&[flag, "abc"], &[], None).expect_err("an error");
        assert!(errors.concat().contains(message), "{errors:?}");
    }
}

#[test]
fn an_option_may_be_set_to_an_empty_value() {
    let (config, _) = load_with(&["--reply-prefix", ""], &[], None).expect("a config");

    assert_eq!(config.service.reply_prefix, "");
}

#[test]
fn short_help_fits_a_screen_and_long_help_has_every_option() {
    let mut command = CommandLine::command();

    assert!(command.render_help().to_string().lines().count() <= 20);
    let long = command.render_long_help().to_string();
    for option in Table::new().command.get_arguments() {
        assert!(long.contains(&format!("--{}", option.get_long().unwrap_or_default())));
    }
}

#[test]
fn an_empty_variable_is_one_that_is_not_set_but_an_empty_prefix_is_a_value() {
    let names =
        ["TOKENECHO_PORT", "TOKENECHO_API_KEY", "TOKENECHO_ITL", "TOKENECHO_MODEL", "TOKENECHO_ANY_KEY"];
    let variables: Vec<_> =
        names.into_iter().chain(["TOKENECHO_REPLY_PREFIX"]).map(|name| (name, "")).collect();

    let (config, _) = load_with(&[], &variables, None).expect("nothing is set");

    assert_eq!(config.listeners.port, 8000);
    assert!(config.auth.api_key.is_empty() && config.service.models.model.is_empty());
    assert_eq!(config.service.reply_prefix, "");
}
