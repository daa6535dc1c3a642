package chat

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// badBody is a body and its error; an empty code means that it is accepted.
type badBody struct {
	name  string
	body  string
	code  string
	names string // the field that the message begins with
}

func (b badBody) check(t testing.TB, cl *harness.Client, path string) {
	t.Helper()
	resp := cl.Do("POST", path, b.body)
	if b.code == "" {
		if text := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
			t.Errorf("got %d, want an answer: %s", resp.StatusCode, text)
		}
		return
	}
	f := harness.WantFailure(t, resp, http.StatusBadRequest, b.code)
	if b.names != "" && !strings.HasPrefix(f.Error.Message, b.names+": ") {
		t.Errorf("message %q does not name %s", f.Error.Message, b.names)
	}
	if strings.HasPrefix(path, "/v1/") && b.names != "" && (f.Error.Param == nil || *f.Error.Param != b.names) {
		t.Errorf("param is not %s", b.names)
	}
}

// with returns a good body with one member replaced, or omitted if raw is
// empty.
func with(good map[string]string, name, raw string) string {
	var members []string
	for _, n := range []string{"sessionId", "message", "stream", "modelId", "userId", "model", "messages", "stream_options", "padding"} {
		v, ok := good[n]
		if n == name {
			v, ok = raw, raw != ""
		}
		if ok {
			members = append(members, fmt.Sprintf("%q:%s", n, v))
		}
	}
	return "{" + strings.Join(members, ",") + "}"
}

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

const validationSite = `
	tenant_resolve
	chat_session {
		max_body 256KiB
	}
	ai_gateway {
		provider echo {
			delay 0
		}
	}
`

func TestValidationOfMessages(t *testing.T) {
	c := harness.Start(t, "", validationSite)
	cl := harness.NewClient(c, "", "")
	good := map[string]string{"sessionId": quoted(harness.NewSession()), "message": `"hi"`, "stream": "false"}
	const bad, field = "invalid_json", "invalid_request"

	for _, b := range []badBody{
		{"all fields", with(map[string]string{"sessionId": good["sessionId"], "message": `"hi"`, "stream": "true", "modelId": `"echo"`, "userId": `"ann"`}, "", ""), "", ""},

		{"sessionId missing", with(good, "sessionId", ""), field, "sessionId"},
		{"sessionId null", with(good, "sessionId", "null"), field, "sessionId"},
		{"sessionId a number", with(good, "sessionId", "1"), field, "sessionId"},
		{"sessionId an object", with(good, "sessionId", "{}"), field, "sessionId"},
		{"sessionId empty", with(good, "sessionId", `""`), field, "sessionId"},
		{"sessionId no UUID", with(good, "sessionId", `"session-1"`), field, "sessionId"},
		{"sessionId in braces", with(good, "sessionId", quoted("{"+harness.SomeSession+"}")), field, "sessionId"},
		{"sessionId as URN", with(good, "sessionId", quoted("urn:uuid:"+harness.SomeSession)), field, "sessionId"},
		{"sessionId without hyphens", with(good, "sessionId", quoted(strings.ReplaceAll(harness.SomeSession, "-", ""))), field, "sessionId"},
		{"sessionId with another letter", with(good, "sessionId", quoted("g"+harness.SomeSession[1:])), field, "sessionId"},
		{"sessionId in upper case", with(good, "sessionId", quoted(strings.ToUpper(harness.NewSession()))), "", ""},

		{"message missing", with(good, "message", ""), field, "message"},
		{"message null", with(good, "message", "null"), field, "message"},
		{"message a list", with(good, "message", `["hi"]`), field, "message"},
		{"message true", with(good, "message", "true"), field, "message"},
		{"message empty", with(good, "message", `""`), field, "message"},
		{"message of 10,000 characters", with(good, "message", quoted(strings.Repeat("世", 10_000))), "", ""},
		{"message of 10,001 characters", with(good, "message", quoted(strings.Repeat("世", 10_001))), field, "message"},
		{"message of 10,000 characters beyond the BMP", with(good, "message", quoted(strings.Repeat("😀", 10_000))), "", ""},
		{"message of 10,000 escaped pairs", with(good, "message", `"`+strings.Repeat(`\ud83d\ude00`, 10_000)+`"`), "", ""},
		{"message of 10,001 escaped pairs", with(good, "message", `"`+strings.Repeat(`\ud83d\ude00`, 10_001)+`"`), field, "message"},
		{"message with half a pair", with(good, "message", `"\ud83d"`), bad, ""},
		{"message of blanks", with(good, "message", `"   "`), "", ""},
		{"message with NUL", with(good, "message", `"a\u0000b"`), "", ""},
		{"message with a raw line feed", with(good, "message", "\"a\nb\""), bad, ""},

		{"stream missing", with(good, "stream", ""), "", ""},
		{"stream null", with(good, "stream", "null"), "", ""},
		{"stream a string", with(good, "stream", `"false"`), field, "stream"},
		{"stream a number", with(good, "stream", "0"), field, "stream"},

		{"modelId null", with(good, "modelId", "null"), "", ""},
		{"modelId empty", with(good, "modelId", `""`), field, "modelId"},
		{"modelId a number", with(good, "modelId", "4"), field, "modelId"},

		{"userId null", with(good, "userId", "null"), "", ""},
		{"userId empty", with(good, "userId", `""`), field, "userId"},
		{"userId a number", with(good, "userId", "4"), field, "userId"},
		{"userId of 128 characters", with(good, "userId", quoted(strings.Repeat("ö", 128))), "", ""},
		{"userId of 129 characters", with(good, "userId", quoted(strings.Repeat("o", 129))), field, "userId"},
		{"userId with a line feed", with(good, "userId", `"ann\nX-Tenant-Id: globex"`), field, "userId"},
		{"userId with NUL", with(good, "userId", `"ann\u0000"`), field, "userId"},

		{"an unknown field", with(good, "model", `{"a":[1,2,{"b":null}]}`), "", ""},
		{"an unknown field that differs in case", strings.TrimSuffix(with(good, "", ""), "}") + `,"Message":7}`, "", ""},
		{"a duplicate name", strings.TrimSuffix(with(good, "", ""), "}") + `,"message":"hi"}`, bad, ""},
		{"a duplicate name with an escape", strings.TrimSuffix(with(good, "", ""), "}") + `,"\u006dessage":"hi"}`, bad, ""},
		{"a duplicate name in an unknown field", strings.TrimSuffix(with(good, "", ""), "}") + `,"x":[{"y":{"a":1,"a":1}}]}`, bad, ""},
		{"invalid UTF-8", with(good, "message", "\"a\xff\""), bad, ""},
		{"invalid UTF-8 in an unknown field", with(good, "model", "\"a\xc3\""), bad, ""},
		{"trailing garbage", with(good, "", "") + "x", bad, ""},
		{"a second document", with(good, "", "") + "{}", bad, ""},
		{"white space around it", " \r\n\t" + with(good, "", "") + " \r\n\t", "", ""},
		{"a byte order mark", "\xef\xbb\xbf" + with(good, "", ""), bad, ""},
		{"nothing", "", bad, ""},
		{"white space", " ", bad, ""},
		{"an array", "[" + with(good, "", "") + "]", field, "body"},
		{"null", "null", field, "body"},
		{"a string", `"hi"`, field, "body"},
		{"half a document", strings.TrimSuffix(with(good, "", ""), "}"), bad, ""},
		{"single quotes", "{'message':'hi'}", bad, ""},
		{"a comment", "/* */" + with(good, "", ""), bad, ""},
		{"a comma at the end", strings.TrimSuffix(with(good, "", ""), "}") + ",}", bad, ""},
		{"NaN", with(good, "model", "NaN"), bad, ""},
		{"nesting 1,000 deep", with(good, "model", strings.Repeat("[", 1000)+strings.Repeat("]", 1000)), "", ""},
		{"nesting 100,000 deep", with(good, "model", strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)), bad, ""},
		{"nesting that never ends", `{"model":` + strings.Repeat(`{"a":`, 40_000), bad, ""},
	} {
		t.Run(b.name, func(t *testing.T) {
			cl.T = t
			b.check(t, cl, "/chat")
		})
	}
}

func TestValidationOfCompletions(t *testing.T) {
	c := harness.Start(t, "", validationSite)
	cl := harness.NewClient(c, "", "")
	good := map[string]string{"model": `"echo"`, "messages": `[{"role":"user","content":"hi"}]`}
	const bad, field = "invalid_json", "invalid_request"

	for _, b := range []badBody{
		{"model missing", with(good, "model", ""), "", ""},
		{"model null", with(good, "model", "null"), "", ""},
		{"model empty", with(good, "model", `""`), field, "model"},
		{"model a number", with(good, "model", "4"), field, "model"},
		{"model a list", with(good, "model", `["echo"]`), field, "model"},
		{"messages missing", with(good, "messages", ""), field, "messages"},
		{"messages null", with(good, "messages", "null"), field, "messages"},
		{"messages a string", with(good, "messages", `"hi"`), field, "messages"},
		{"messages an object", with(good, "messages", `{"role":"user","content":"hi"}`), field, "messages"},
		{"messages empty", with(good, "messages", "[]"), field, "messages"},
		{"stream true", with(good, "stream", "true"), "", ""},
		{"stream null", with(good, "stream", "null"), "", ""},
		{"stream a string", with(good, "stream", `"true"`), field, "stream"},
		{"stream a number", with(good, "stream", "1"), field, "stream"},
		{"stream_options null", with(good, "stream_options", "null"), "", ""},
		{"stream_options empty", with(good, "stream_options", "{}"), "", ""},
		{"stream_options a string", with(good, "stream_options", `"include_usage"`), field, "stream_options"},
		{"stream_options a list", with(good, "stream_options", `[true]`), field, "stream_options"},
		{"stream_options.include_usage null", with(good, "stream_options", `{"include_usage":null}`), "", ""},
		{"stream_options.include_usage a string", with(good, "stream_options", `{"include_usage":"yes"}`), field, "stream_options.include_usage"},
		{"an unknown field", with(good, "userId", `{"deep":[1]}`), "", ""},
		{"a duplicate name", strings.TrimSuffix(with(good, "", ""), "}") + `,"model":"smart"}`, bad, ""},
		{"a duplicate name in a message", with(good, "messages", `[{"role":"user","content":"a","content":"b"}]`), bad, ""},
		{"invalid UTF-8", with(good, "messages", "[{\"role\":\"user\",\"content\":\"\xff\"}]"), bad, ""},
		{"trailing garbage", with(good, "", "") + "]", bad, ""},
		{"a byte order mark", "\xef\xbb\xbf" + with(good, "", ""), bad, ""},
		{"nothing", "", bad, ""},
		{"an array", "[]", field, "body"},
		{"nesting 100,000 deep", with(good, "userId", strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)), bad, ""},
	} {
		t.Run(b.name, func(t *testing.T) {
			cl.T = t
			b.check(t, cl, "/v1/chat/completions")
		})
	}
}

func TestValidationOfContentType(t *testing.T) {
	c := harness.Start(t, "", validationSite)
	for _, p := range []struct {
		path string
		body any
	}{{"/chat", harness.ChatRequestFor("")}, {"/v1/chat/completions", harness.CompletionRequestFor("echo")}} {
		for contentType, fine := range map[string]bool{
			"application/json":                     true,
			"Application/JSON":                     true,
			"application/json; charset=utf-8":      true,
			`application/json;charset="UTF-8"`:     true,
			"application/json; charset=iso-8859-1": false,
			"application/json; charset=utf-8; =":   false,
			"application/jsonp":                    false,
			"application/x-ndjson":                 false,
			"application/x-www-form-urlencoded":    false,
			"text/plain":                           false,
			"text/json":                            false,
			"multipart/form-data; boundary=x":      false,
			"json":                                 false,
			"application/json, text/plain":         false,
			"":                                     false,
		} {
			t.Run(p.path+" "+contentType, func(t *testing.T) {
				cl := harness.NewClient(c, "", "")
				cl.T = t
				req := cl.Request("POST", p.path, p.body, "Content-Type", contentType)
				if contentType == "" {
					req.Header.Del("Content-Type")
				}
				resp, err := cl.HTTP.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				if !fine {
					harness.WantFailure(t, resp, http.StatusUnsupportedMediaType, "unsupported_media_type")
				} else if text := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
					t.Errorf("got %d: %s", resp.StatusCode, text)
				}
			})
		}
	}
}

// TestValidationOfBodySize checks the limit in bytes, with Content-Length and
// with chunks.
func TestValidationOfBodySize(t *testing.T) {
	c := harness.Start(t, "", `
		tenant_resolve
		chat_session {
			max_body 2000
		}
		ai_gateway {
			provider echo {
				delay 0
			}
			max_body 3000
		}
	`)
	for _, p := range []struct {
		path  string
		limit int
		body  map[string]string
	}{
		{"/chat", 2000, map[string]string{"sessionId": quoted(harness.NewSession()), "message": `"hi"`}},
		{"/v1/chat/completions", 3000, map[string]string{"messages": `[{"role":"user","content":"hi"}]`}},
	} {
		bodyOf := func(size int) string {
			base := len(with(p.body, "padding", `""`))
			return with(p.body, "padding", quoted(strings.Repeat("x", size-base)))
		}
		for _, chunked := range []bool{false, true} {
			for size, status := range map[int]int{p.limit: http.StatusOK, p.limit + 1: http.StatusRequestEntityTooLarge, 100 * p.limit: http.StatusRequestEntityTooLarge} {
				t.Run(fmt.Sprintf("%s of %d, chunked %t", p.path, size, chunked), func(t *testing.T) {
					cl := harness.NewClient(c, "", "")
					cl.T = t
					text := bodyOf(size)
					if len(text) != size {
						t.Fatalf("the test made %d bytes, not %d", len(text), size)
					}
					var body any = text
					if chunked {
						body = io.MultiReader(strings.NewReader(text[:10]), strings.NewReader(text[10:]))
					}
					resp := cl.Do("POST", p.path, body)
					if status == http.StatusRequestEntityTooLarge {
						harness.WantFailure(t, resp, status, "payload_too_large")
					} else if text := harness.ReadAll(t, resp); resp.StatusCode != status {
						t.Errorf("got %d: %s", resp.StatusCode, text)
					}
				})
			}
		}
		// Go's server reads up to 256 KiB more before it answers, so that
		// clients that send before they read are not cut off.
		head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n", p.path, strings.TrimPrefix(c.URL, "http://"))
		t.Run(p.path+" is refused before it is read", func(t *testing.T) {
			// most of the body is never sent
			more := "Content-Length: 100000000\r\n\r\n" + strings.Repeat(" ", 300_000)
			harness.WantFailure(t, rawRequest(t, c, head+more), http.StatusRequestEntityTooLarge, "payload_too_large")
		})
		t.Run(p.path+" is refused as soon as it exceeds the limit", func(t *testing.T) {
			// the last chunk never comes
			text := strings.Repeat(" ", p.limit+300_000)
			more := fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(text), text)
			harness.WantFailure(t, rawRequest(t, c, head+more), http.StatusRequestEntityTooLarge, "payload_too_large")
		})
	}
}

// TestValidationBehindRequestBody checks that a chunked body beyond the limit of
// Caddy's request_body gets our error. Caddy refuses a Content-Length above it
// before the chain.
func TestValidationBehindRequestBody(t *testing.T) {
	c := harness.Start(t, "", "request_body {\nmax_size 100\n}\n"+validationSite)
	cl := harness.NewClient(c, "", "")
	text := `{"message":"` + strings.Repeat("x", 200) + `"}`
	for _, path := range []string{"/chat", "/v1/chat/completions"} {
		resp := cl.Do("POST", path, io.MultiReader(strings.NewReader(text)))
		harness.Refusal{Path: path, Status: http.StatusRequestEntityTooLarge, Code: "payload_too_large"}.CheckAnswer(t, c, resp)
	}
}

// rawRequest sends text and reads the answer. The connection stays open until
// the test ends.
func rawRequest(t testing.TB, c *harness.Caddy, text string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	// the server may refuse before it has read everything
	_, _ = io.WriteString(conn, text)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}
