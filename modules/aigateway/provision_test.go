package aigateway

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestMistakesInJSON has what the Caddyfile's parser would not let pass.
func TestMistakesInJSON(t *testing.T) {
	const one = `{"providers":{"one":{"type":"echo"}},`
	for _, tc := range []struct{ name, config, want string }{
		{"no_provider", `{}`, "no provider: name one"},
		{"a_provider_without_a_type", `{"providers":{"one":{}}}`, "loading providers"},
		{"a_provider_of_no_type", `{"providers":{"one":{"type":"nosuch"}}}`, "nosuch"},
		{"a_provider_with_a_slash", `{"providers":{"a/b":{"type":"echo"}}}`, `provider "a/b": want a name without slashes`},
		{"a_provider_without_a_name", `{"providers":{"":{"type":"echo"}}}`, `provider "": want a name`},
		{"a_model_that_is_null", one + `"models":[null]}`, "models: number 1 is null"},
		{"a_model_without_a_name", one + `"models":[{"to":["one/m"]}]}`, "name is empty"},
		{"a_model_without_targets", one + `"models":[{"name":"fast"}]}`, "model fast: want at least one target"},
		{"a_target_of_nobody", one + `"models":[{"name":"fast","to":["two/m"]}]}`, "model fast: no provider is named two"},
		{"a_weight", one + `"models":[{"name":"fast","to":["one/m 0"]}]}`, `target one/m: weight "0": want a whole number`},
		{"a_policy", one + `"models":[{"name":"fast","to":["one/m"],"lb_policy":"best"}]}`, `lb_policy "best": want one of first`},
		{"a_price", one + `"models":[{"name":"fast","to":["one/m"],"price":{"input":-1}}]}`, "model fast: price: want two numbers"},
		{"default_model", one + `"models":[{"name":"fast","to":["one/m"]}],"default_model":"slow"}`, "default_model: model slow: no such model"},
		{"model_override", one + `"models":[{"name":"fast","to":["one/m"]}],"model_override":"slow"}`, "model_override: model slow: no such model"},
		{"passthrough", one + `"passthrough":["two"]}`, "passthrough: no provider is named two"},
		{"tenant", one + `"tenant":"nosuch"}`, "tenant nosuch: no such tenant"},
		{"retries", one + `"retries":-1}`, "retries: -1: want a number from 0 to 100"},
		{"many_retries", one + `"retries":101}`, "retries: 101: want"},
		{"retry_after_max", one + `"retry_after_max":-1}`, "retry_after_max: -1ns: want a duration"},
		{"try_duration", one + `"try_duration":-1}`, "try_duration: -1ns: want a duration"},
		{"response_timeout", one + `"response_timeout":-1}`, "response_timeout: -1ns: want a duration"},
		{"first_token_timeout", one + `"first_token_timeout":-1}`, "first_token_timeout: -1ns: want a duration"},
		{"stall_timeout", one + `"stall_timeout":-1}`, "stall_timeout: -1ns: want a duration"},
		{"a_model's_timeout", one + `"models":[{"name":"fast","to":["one/m"],"stall_timeout":-1}]}`, "model fast: stall_timeout: -1ns: want a duration"},
		{"cache", one + `"cache":-1}`, "cache: -1ns: want a duration"},
		{"max_body", one + `"max_body":-1}`, "max_body: -1: want a number of bytes"},
		{"max_body_beyond_all", one + `"max_body":9223372036854775807}`, "max_body: 9223372036854775807: want a number of bytes"},
		{"circuit_breaker_failures", one + `"circuit_breaker":{"failures":-1}}`, "circuit_breaker: failures: -1: want"},
		{"circuit_breaker_pause", one + `"circuit_breaker":{"failures":1,"pause":-1}}`, "circuit_breaker: pause: -1ns: want a duration"},
		{"health_path", one + `"health_path":"health"}`, `health_path: "health": want a path`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := loadGateway(t, `{}`, tc.config, 0)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// TestModelsOfTheConfiguration are listed, whether or not they have an alias.
func TestModelsOfTheConfiguration(t *testing.T) {
	h, err := loadGateway(t, `{}`, `{"passthrough":["one"],"default_model":"one/a","model_override":"one/b"}`, 1)
	if err != nil {
		t.Fatal(err)
	}
	w, r := httptest.NewRecorder(), newRequest(t.Context(), "")
	r.Method, r.URL.Path = http.MethodGet, "/v1/models"
	serve(t, h, w, r)
	for _, id := range []string{"fast", "one/a", "one/b"} {
		if !strings.Contains(w.Body.String(), `"id":"`+id+`"`) {
			t.Errorf("%s is not listed: %s", id, w.Body)
		}
	}
}
