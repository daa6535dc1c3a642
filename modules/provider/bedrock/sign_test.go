package bedrock

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// The key, the time and the session token of AWS's Signature Version 4 test
// suite.
var (
	suiteKey   = accessKey{id: "AKIDEXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
	suiteTime  = time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	suiteToken = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)

// TestSignSuite compares signatures with those of AWS's published test suite,
// for the kinds of requests that are made here.
func TestSignSuite(t *testing.T) {
	for _, tc := range []struct {
		name, method, token, typ, body string
		headers, signature             string
	}{
		{
			name: "get-vanilla", method: http.MethodGet,
			headers:   "host;x-amz-date",
			signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
		},
		{
			name: "post-vanilla", method: http.MethodPost,
			headers:   "host;x-amz-date",
			signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
		},
		{
			name: "post-sts-header-before", method: http.MethodPost, token: suiteToken,
			headers:   "host;x-amz-date;x-amz-security-token",
			signature: "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
		},
		{
			name: "post-x-www-form-urlencoded", method: http.MethodPost, typ: "application/x-www-form-urlencoded", body: "Param1=value1",
			headers:   "content-type;host;x-amz-date",
			signature: "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
		},
		{
			name: "post-x-www-form-urlencoded-parameters", method: http.MethodPost, typ: "application/x-www-form-urlencoded; charset=utf8", body: "Param1=value1",
			headers:   "content-type;host;x-amz-date",
			signature: "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tc.method, "https://example.amazonaws.com", nil)
			if err != nil {
				t.Fatal(err)
			}
			if tc.typ != "" {
				req.Header.Set("Content-Type", tc.typ)
			}
			key := suiteKey
			key.token = tc.token
			signer{key, "us-east-1", "service"}.sign(req, []byte(tc.body), suiteTime)
			want := "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=" + tc.headers + ", Signature=" + tc.signature
			if got := req.Header.Get("Authorization"); got != want {
				t.Errorf("\n got %s\nwant %s", got, want)
			}
			if got := req.Header.Get("X-Amz-Security-Token"); got != tc.token {
				t.Errorf("session token %q", got)
			}
		})
	}
}

// TestEscape uses the paths of the test suite, which escapes them once:
// get-unreserved, get-space and get-utf8.
func TestEscape(t *testing.T) {
	const unreserved = "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	for in, want := range map[string]string{
		unreserved:        unreserved,
		"/example space/": "/example%20space/",
		"/ሴ":              "/%E1%88%B4",
		"/a:b+c%3A":       "/a%3Ab%2Bc%253A",
	} {
		if got := escape(in, "/"); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got, want := escape("arn:aws:bedrock:us-east-1:1:inference-profile/x", ""), "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestSignLikeAWS compares with AWS's own signer.
func TestSignLikeAWS(t *testing.T) {
	for _, tc := range []struct {
		name, url, host, body string
		key                   accessKey
		header                http.Header
	}{
		{name: "model", url: "https://bedrock-runtime.us-east-1.amazonaws.com/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream", body: `{"messages":[]}`, key: suiteKey},
		{name: "ARN", url: "https://bedrock-runtime.us-east-1.amazonaws.com/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx/converse", body: "x", key: suiteKey},
		{name: "odd path", url: "https://example.com/a%2520b/~%E1%88%B4/%28c%29+d/", key: suiteKey},
		{name: "session token", url: "https://example.com/", key: accessKey{"A", "b", "c/d+e=="}},
		{name: "host", url: "https://127.0.0.1:1/model/m/converse", host: "proxy.example.com", key: suiteKey},
		{name: "port", url: "http://127.0.0.1:8080/model/m/converse", key: suiteKey},
		{name: "headers", url: "https://example.com/", key: suiteKey, header: http.Header{"Content-Type": {"application/json;  charset=utf-8 "}, "X-Amz-Two": {" a  b", "c"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			request := func() *http.Request {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, tc.url, strings.NewReader(tc.body))
				if err != nil {
					t.Fatal(err)
				}
				req.ContentLength = -1 // their signer signs it if it is known
				if tc.host != "" {
					req.Host = tc.host
				}
				maps.Copy(req.Header, tc.header)
				return req
			}
			want, got := request(), request()
			creds := aws.Credentials{AccessKeyID: tc.key.id, SecretAccessKey: tc.key.secret, SessionToken: tc.key.token}
			if err := v4.NewSigner().SignHTTP(t.Context(), creds, want, hash([]byte(tc.body)), service, "us-east-1", suiteTime); err != nil {
				t.Fatal(err)
			}
			signer{tc.key, "us-east-1", service}.sign(got, []byte(tc.body), suiteTime.In(time.FixedZone("", 3600)))
			for _, name := range [...]string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token"} {
				if g, w := got.Header.Get(name), want.Header.Get(name); g != w {
					t.Errorf("%s\n got %s\nwant %s", name, g, w)
				}
			}
		})
	}
}
