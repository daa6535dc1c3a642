package bedrock

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/caddy-chat/caddy-chat/modules/provider"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
	"github.com/caddy-chat/caddy-chat/modules/provider/upstream"
)

// clearEnv clears AWS's variables in the machine's environment.
func clearEnv(t testing.TB) {
	for _, name := range [...]string{"AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
		t.Setenv(name, "")
	}
}

func newProvider(t *testing.T, baseURL string) provider.Provider {
	return providertest.Provisioned(t, &Bedrock{
		Upstream:        upstream.Upstream{BaseURL: baseURL},
		Region:          "us-east-1",
		AccessKeyID:     suiteKey.id,
		SecretAccessKey: suiteKey.secret,
	})
}

func TestRecordings(t *testing.T) {
	providertest.Run(t, newProvider, providertest.Load(t, "testdata", "bedrock"))
}

func request(model, body string) *provider.Request {
	return &provider.Request{Model: model, Body: []byte(body), TraceID: "t-1"}
}

const hi = `{"messages":[{"role":"user","content":"hi"}]}`

// signedLikeAWS says whether AWS's own signer gives a received request the
// signature that it has.
func signedLikeAWS(t *testing.T, got *http.Request, body []byte, key accessKey) bool {
	t.Helper()
	at, err := time.Parse(longDate, got.Header.Get("X-Amz-Date"))
	if err != nil {
		t.Fatalf("the date of a signed request: %v", err)
	}
	again, err := http.NewRequestWithContext(t.Context(), got.Method, "https://"+got.Host+got.RequestURI, nil)
	if err != nil {
		t.Fatal(err)
	}
	again.Header.Set("Content-Type", got.Header.Get("Content-Type"))
	for name, values := range got.Header {
		if strings.HasPrefix(name, "X-Amz-") {
			again.Header[name] = values
		}
	}
	creds := aws.Credentials{AccessKeyID: key.id, SecretAccessKey: key.secret, SessionToken: key.token}
	if err := v4.NewSigner().SignHTTP(t.Context(), creds, again, hash(body), "bedrock", "eu-central-1", at); err != nil {
		t.Fatal(err)
	}
	return got.Header.Get("Authorization") == again.Header.Get("Authorization")
}

func TestCall(t *testing.T) {
	const model = "arn:aws:bedrock:eu-central-1:1:inference-profile/eu.anthropic.claude-x:0"
	for _, tc := range []struct {
		name   string
		b      Bedrock
		tenant string
		key    accessKey // signed with it
		bearer string    // or carrying that
		host   string
	}{
		{name: "access_keys", b: Bedrock{AccessKeyID: "ID", SecretAccessKey: "s"}, key: accessKey{id: "ID", secret: "s"}},
		{name: "temporary_access_keys", b: Bedrock{AccessKeyID: "ID", SecretAccessKey: "s", SessionToken: "t/+="}, key: accessKey{"ID", "s", "t/+="}},
		{name: "access_keys_of_the_environment", key: accessKey{"ENVID", "envsecret", "envtoken"}},
		{name: "Bedrock_API_key", b: Bedrock{Upstream: upstream.Upstream{APIKey: "bedrock-api-key-YWJj"}}, bearer: "bedrock-api-key-YWJj"},
		{name: "access_keys_in_one", b: Bedrock{Upstream: upstream.Upstream{APIKey: "ID:s"}}, key: accessKey{id: "ID", secret: "s"}},
		{name: "tenant's_Bedrock_API_key", b: Bedrock{AccessKeyID: "ID", SecretAccessKey: "s"}, tenant: "ABSKtenant", bearer: "ABSKtenant"},
		{name: "tenant's_access_keys", b: Bedrock{Upstream: upstream.Upstream{APIKey: "ABSKown"}}, tenant: "TID:ts/+=:tt", key: accessKey{"TID", "ts/+=", "tt"}},
		{
			name: "configured_headers", key: accessKey{id: "ID", secret: "s"}, host: "bedrock.example.com",
			b: Bedrock{AccessKeyID: "ID", SecretAccessKey: "s", Upstream: upstream.Upstream{Headers: http.Header{
				"host": {"bedrock.example.com"}, "content-type": {"application/json; charset=utf-8"}, "x-amz-meta": {"a"}, "user-agent": {"mine"},
			}}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("AWS_REGION", "eu-central-1")
			t.Setenv("AWS_ACCESS_KEY_ID", "ENVID")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "envsecret\n")
			t.Setenv("AWS_SESSION_TOKEN", "envtoken")
			replay := providertest.NewReplay(t)
			tc.b.BaseURL = replay.URL
			b := providertest.Provisioned(t, &tc.b)
			preq := request(model, hi)
			preq.APIKey = tc.tenant
			replay.Answer(200, nil, []byte(`{"output":{"message":{"content":[{"text":"hi"}]}}}`), providertest.Whole)
			if c, err := b.Complete(t.Context(), preq); err != nil || c.Text != "hi" || c.Model != model {
				t.Fatalf("got %+v, %v", c, err)
			}
			s, err := b.Stream(t.Context(), preq)
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
			requests, bodies := replay.Requests()
			for i, path := range [...]string{"converse", "converse-stream"} {
				req := requests[i]
				if want := "/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A1%3Ainference-profile%2Feu.anthropic.claude-x%3A0/" + path; req.Method != http.MethodPost || req.RequestURI != want {
					t.Errorf("%s %s, want POST %s", req.Method, req.RequestURI, want)
				}
				if got := req.Header.Get("X-Request-Id"); got != "t-1" {
					t.Errorf("X-Request-Id %q", got)
				}
				if tc.host != "" && req.Host != tc.host {
					t.Errorf("Host %q, want %q", req.Host, tc.host)
				}
				if tc.bearer != "" {
					if got := req.Header.Get("Authorization"); got != "Bearer "+tc.bearer || req.Header.Get("X-Amz-Date") != "" {
						t.Errorf("Authorization %q, date %q", got, req.Header.Get("X-Amz-Date"))
					}
					continue
				}
				if !signedLikeAWS(t, req, bodies[i], tc.key) {
					t.Errorf("Authorization %q is not AWS's", req.Header.Get("Authorization"))
				}
			}
			if got := requests[1].Header.Get("Accept"); got != "application/vnd.amazon.eventstream" {
				t.Errorf("Accept %q", got)
			}
		})
	}
}

func TestCallWithoutCredentials(t *testing.T) {
	for _, tc := range []struct {
		name   string
		b      Bedrock
		tenant string
		want   string
	}{
		{name: "no_access_keys", b: Bedrock{Region: "us-east-1"}, want: "access_key_id: {env.AWS_ACCESS_KEY_ID} is empty"},
		{name: "no_region", b: Bedrock{AccessKeyID: "a", SecretAccessKey: "b"}, want: "region: {env.AWS_REGION} is empty"},
		{name: "no_secret", b: Bedrock{Region: "us-east-1", AccessKeyID: "a", SecretAccessKey: "{env.CHAT_TEST_NONE}"}, want: "secret_access_key: {env.CHAT_TEST_NONE} is empty"},
		{name: "empty_API_key", b: Bedrock{Region: "us-east-1", Upstream: upstream.Upstream{APIKey: "{env.CHAT_TEST_NONE}"}}, want: "api_key: {env.CHAT_TEST_NONE} is empty"},
		{name: "tenant's_without_an_id", b: Bedrock{Region: "us-east-1"}, tenant: ":secret", want: "ACCESS_KEY_ID:SECRET_ACCESS_KEY"},
		{name: "tenant's_without_a_secret", b: Bedrock{Region: "us-east-1"}, tenant: "id::token", want: "ACCESS_KEY_ID:SECRET_ACCESS_KEY"},
		{name: "tenant's_with_a_line_break", b: Bedrock{Region: "us-east-1"}, tenant: "a\nb", want: "control characters"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			clearEnv(t)
			replay := providertest.NewReplay(t)
			tc.b.BaseURL = replay.URL
			b := providertest.Provisioned(t, &tc.b)
			preq := request("m", hi)
			preq.APIKey = tc.tenant
			_, err := b.Complete(t.Context(), preq)
			e, ok := errors.AsType[*provider.Error](err)
			if !ok || e.Reason != provider.ReasonCredentials || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if strings.Contains(err.Error(), "secret") && tc.tenant != "" {
				t.Errorf("the tenant's key is in %q", err)
			}
			if requests, _ := replay.Requests(); len(requests) > 0 {
				t.Error("a call was made")
			}
		})
	}
	t.Run("a_tenant's_API_key_needs_no_more_than_a_base_url", func(t *testing.T) {
		clearEnv(t)
		replay := providertest.NewReplay(t)
		replay.Answer(200, nil, []byte(`{"output":{"message":{"content":[]}}}`), providertest.Whole)
		b := providertest.Provisioned(t, &Bedrock{Upstream: upstream.Upstream{BaseURL: replay.URL}})
		preq := request("m", hi)
		preq.APIKey = "ABSK"
		if _, err := b.Complete(t.Context(), preq); err != nil {
			t.Error(err)
		}
	})
}

func TestFailures(t *testing.T) {
	for _, tc := range []struct {
		name    string
		status  int
		message string
		want    provider.Reason
	}{
		{"unknown_model", 400, "The provided model identifier is invalid.", provider.ReasonModel},
		{"inference_profile_wanted", 400, "Invocation of model ID x with on-demand throughput isn’t supported. Retry your request with the ID or ARN of an inference profile that contains this model.", provider.ReasonModel},
		{"prompt_too_long", 400, "The model returned the following errors: prompt is too long: 3 tokens > 2 maximum", provider.ReasonContextLength},
		{"filtered", 400, "This request has been blocked by our content filters.", provider.ReasonContentFiltered},
		{"invalid", 400, "Malformed input request, please reformat your input and try again.", provider.ReasonInvalid},
		{"model_failed", 424, "The request failed due to an error while processing the model.", provider.ReasonUnavailable},
		{"model_too_slow", 408, "The request took too long to process.", provider.ReasonUnavailable},
		{"model_not_ready", 429, "The model specified in the request is not ready.", provider.ReasonRateLimited},
		{"throttled", 429, "Too many tokens per day, please wait before trying again.", provider.ReasonRateLimited},
	} {
		t.Run(tc.name, func(t *testing.T) {
			replay := providertest.NewReplay(t)
			body, err := json.Marshal(map[string]string{"message": tc.message})
			if err != nil {
				t.Fatal(err)
			}
			replay.Answer(tc.status, nil, body, providertest.Whole)
			_, err = newProvider(t, replay.URL).Stream(t.Context(), request("m", hi))
			if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != tc.want || e.Message != tc.message {
				t.Errorf("got %v (%+v), want reason %d", err, e, tc.want)
			}
		})
	}
}

func TestOddAnswers(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		reason     provider.Reason
	}{
		{"nothing", ``, provider.ReasonBadAnswer},
		{"html", `<html>`, provider.ReasonBadAnswer},
		{"cut off", `{"output":{"message":{"content":[`, provider.ReasonBadAnswer},
		{"JSON of another kind", `{"ok":true}`, provider.ReasonBadAnswer},
		{"brackets", strings.Repeat("[", 1<<20), provider.ReasonBadAnswer},
		{"malformed tool call", `{"output":{"message":{"content":[]}},"stopReason":"malformed_tool_use"}`, provider.ReasonBadAnswer},
		{"exception with status 200", `{"__type":"com.amazon.coral#ThrottlingException:http://x","message":"Too many tokens"}`, provider.ReasonRateLimited},
	} {
		t.Run(tc.name, func(t *testing.T) {
			replay := providertest.NewReplay(t)
			replay.Answer(200, http.Header{"Content-Type": {"text/plain"}}, []byte(tc.body), providertest.Bytes)
			_, err := newProvider(t, replay.URL).Complete(t.Context(), request("m", hi))
			if e, ok := errors.AsType[*provider.Error](err); !ok || e.Reason != tc.reason {
				t.Errorf("got %v, want reason %d", err, tc.reason)
			}
		})
	}
	t.Run("usage out of all bounds", func(t *testing.T) {
		a, err := readAnswer([]byte(`{"output":{"message":{"content":[]}},"usage":{"inputTokens":-5,"outputTokens":1e300,"cacheReadInputTokens":9223372036854775807,"cacheWriteInputTokens":"x"}}`))
		if err != nil {
			t.Fatal(err)
		}
		if u := a.completion("m", nil).Usage; u.Input != 1<<40 || u.Output != 1<<40 || u.Cached != 1<<40 || u.Total() < 0 {
			t.Errorf("usage %+v", u)
		}
	})
	t.Run("text beside no tool call is never null", func(t *testing.T) {
		a, err := readAnswer([]byte(`{"output":{"message":{"content":[]}}}`))
		if body := string(a.completion("m", nil).Body); err != nil || !strings.Contains(body, `"content":""`) || !strings.Contains(body, `"finish_reason":"stop"`) {
			t.Errorf("got %s, %v", body, err)
		}
	})
}

func TestContinues(t *testing.T) {
	for model, want := range map[string]bool{
		"anthropic.claude-3-haiku-20240307-v1:0":                                                     true,
		"us.anthropic.claude-3-7-sonnet-20250219-v1:0":                                               true,
		"eu.anthropic.claude-sonnet-4-20250514-v1:0":                                                 true,
		"anthropic.claude-opus-4-1-20250805-v1:0":                                                    true,
		"global.anthropic.claude-haiku-4-5-20251001-v1:0":                                            true,
		"arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0": true,
		"us.anthropic.claude-opus-4-6-v1":                                                            false,
		"us.anthropic.claude-sonnet-4-6":                                                             false,
		"anthropic.claude-sonnet-5":                                                                  false,
		"anthropic.claude-opus-10-1":                                                                 false,
		"anthropic.claude-v2:1":                                                                      false,
		"amazon.nova-micro-v1:0":                                                                     false,
		"arn:aws:bedrock:us-east-1:1:application-inference-profile/abc":                              false,
		"": false,
	} {
		if got := new(Bedrock).Continues(model); got != want {
			t.Errorf("%s: %v, want %v", model, got, want)
		}
		for _, said := range [...]bool{true, false} {
			b := &Bedrock{Upstream: upstream.Upstream{Continue: &said}}
			if got := b.Continues(model); got != said {
				t.Errorf("%s: %v, although the operator said %v", model, got, said)
			}
		}
	}
}

func TestProvisionMistakes(t *testing.T) {
	for _, tc := range []struct {
		name string
		b    Bedrock
		err  string
	}{
		{"region", Bedrock{Region: "evil.com/"}, `region: "evil.com/": want a region such as us-east-1`},
		{"unknown placeholder", Bedrock{Region: "{envv.X}"}, "region: "},
		{"secret alone", Bedrock{SecretAccessKey: "x"}, "access_key_id: required"},
		{"token alone", Bedrock{SessionToken: "x"}, "access_key_id: required"},
		{"id alone", Bedrock{AccessKeyID: "x"}, "secret_access_key: required"},
		{"two kinds of keys", Bedrock{AccessKeyID: "x", SecretAccessKey: "y", Upstream: upstream.Upstream{APIKey: "z"}}, "want one of them"},
		{"line break", Bedrock{AccessKeyID: "x\ny", SecretAccessKey: "y"}, "control characters"},
		{"signature's header", Bedrock{Upstream: upstream.Upstream{Headers: http.Header{"authorization": {"x"}}}}, "header authorization: part of the signature"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			clearEnv(t)
			if err := providertest.Provision(t, &tc.b); err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("error %v, want %q", err, tc.err)
			}
		})
	}
}

func TestProvision(t *testing.T) {
	clearEnv(t)
	b := providertest.Provisioned(t, new(Bedrock))
	if b.regionErr == nil || b.keyErr == nil {
		t.Errorf("nothing is missed: %v, %v", b.regionErr, b.keyErr)
	}
	t.Setenv("AWS_REGION", "ap-southeast-2")
	t.Setenv("AWS_SESSION_TOKEN", "of another key")
	b = providertest.Provisioned(t, &Bedrock{AccessKeyID: "a", SecretAccessKey: "b"})
	if b.Base() != "https://bedrock-runtime.ap-southeast-2.amazonaws.com" || b.key.token != "" {
		t.Errorf("base %q, token %q", b.Base(), b.key.token)
	}
	if b.DefaultModel() != "" {
		t.Errorf("default model %q", b.DefaultModel())
	}
}

func TestCaddyfile(t *testing.T) {
	providertest.Caddyfile[Bedrock](t, []providertest.Block{
		{
			Name: "everything",
			In: `bedrock {
				region us-east-1
				access_key_id {env.ID}
				secret_access_key {env.SECRET}
				session_token {env.TOKEN}
				base_url https://vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com
				header X-Team ops
				transport http {
					dial_timeout 2s
				}
				continue off
			}`,
			Want: `{"base_url":"https://vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com","headers":{"X-Team":["ops"]},"transport":{"dial_timeout":2000000000,"protocol":"http"},"continue":false,"region":"us-east-1","access_key_id":"{env.ID}","secret_access_key":"{env.SECRET}","session_token":"{env.TOKEN}"}`,
		},
		{Name: "API key", In: "bedrock {\n api_key {env.K}\n}", Want: `{"api_key":"{env.K}"}`},
		{Name: "nothing", In: `bedrock`, Want: `{}`},
		{Name: "unknown", In: "bedrock {\n key x\n}", Err: "unrecognized subdirective 'key': want region"},
		{Name: "argument", In: "bedrock x", Err: "wrong argument count"},
		{Name: "no value", In: "bedrock {\n region\n}", Err: "wrong argument count"},
		{Name: "two values", In: "bedrock {\n region a b\n}", Err: "wrong argument count"},
		{Name: "twice", In: "bedrock {\n region a\n region b\n}", Err: "region is given twice"},
		{Name: "common option twice", In: "bedrock {\n api_key a\n api_key b\n}", Err: "api_key is given twice"},
	})
}
