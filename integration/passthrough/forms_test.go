package passthrough

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// formPaths take a form.
var formPaths = []string{"/v1/audio/transcriptions", "/v1/audio/translations", "/v1/images/edits", "/v1/images/variations"}

// aForm returns a form with a file, and the fields in order.
func aForm(fields ...string) (contentType string, body []byte) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	file, _ := w.CreateFormFile("file", "speech.mp3")
	_, _ = file.Write(bytes.Repeat([]byte("\x00\r\n--sound"), 20_000))
	for i := 0; i < len(fields); i += 2 {
		_ = w.WriteField(fields[i], fields[i+1])
	}
	_ = w.Close()
	return w.FormDataContentType(), b.Bytes()
}

// readForm returns the fields of a form that an upstream got.
func readForm(t *testing.T, asked harness.Asked) (fields []string, file string) {
	t.Helper()
	_, params, err := mime.ParseMediaType(asked.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	for r := multipart.NewReader(strings.NewReader(asked.Body), params["boundary"]); ; {
		p, err := r.NextPart()
		if err != nil {
			if err != io.EOF {
				t.Error(err)
			}
			return fields, file
		}
		value, _ := io.ReadAll(p)
		if p.FileName() != "" {
			file = string(value)
			continue
		}
		fields = append(fields, p.FormName(), string(value))
	}
}

func TestForms(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, tenants, harness.GatewaySite(up))
	cl := harness.NewClient(c, "globex", "ann")
	for _, path := range formPaths {
		images := strings.HasPrefix(path, "/v1/images/")
		document := `{ "text":"Hi","usage":{"type":"tokens","input_tokens":14,"output_tokens":3}}`
		if images {
			document = `{ "data":[{"url":"u"}],"usage":{"input_tokens":14,"output_tokens":3}}`
		}
		for typ, answer := range map[string]string{
			"application/json":          document,
			"text/plain; charset=utf-8": "Hi there\n",
			"text/event-stream":         "data: {\"type\":\"transcript.text.delta\",\"delta\":\"Hi\"}\n\ndata: {\"type\":\"transcript.text.done\",\"text\":\"Hi\",\"usage\":{\"input_tokens\":14,\"output_tokens\":3}}\n\n",
		} {
			if images && strings.HasPrefix(typ, "text/plain") {
				continue
			}
			t.Run(path+" "+typ, func(t *testing.T) {
				up.Plays(harness.Document(200, answer, "Content-Type", typ))
				contentType, body := aForm("language", "en", "model", "fast", "prompt", "two\r\nlines")
				resp := cl.Do(http.MethodPost, path, bytes.NewReader(body), "Content-Type", contentType)
				if got := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || got != answer || resp.Header.Get("Content-Type") != typ {
					t.Errorf("%d %v %q", resp.StatusCode, resp.Header, got)
				}
				asked := up.Last()
				fields, file := readForm(t, asked)
				if asked.Path != path || fmt.Sprint(fields) != fmt.Sprint([]string{"language", "en", "model", "up-fast", "prompt", "two\r\nlines"}) || len(file) != 20_000*len("\x00\r\n--sound") {
					t.Errorf("%s was sent %q and a file of %d bytes", asked.Path, fields, len(file))
				}
				if n := asked.Header.Get("Content-Length"); n != fmt.Sprint(len(asked.Body)) {
					t.Errorf("the length is %q, want %d", n, len(asked.Body))
				}
			})
		}
	}
	c.WantMetrics(map[string]float64{
		`caddy_ai_tokens_total{model="fast",provider="openai",tenant="globex",type="input"}`:  4*(14+14) + 2*1000,
		`caddy_ai_tokens_total{model="fast",provider="openai",tenant="globex",type="output"}`: 4*(3+3) + 2*3,
	})
}

func TestFormsRefused(t *testing.T) {
	up := harness.NewUpstream(t, harness.Document(200, "{}"))
	c := harness.Start(t, tenants, strings.Replace(harness.GatewaySite(up), "ai_gateway {", "ai_gateway {\nmax_body 300KB", 1))
	typ, whole := aForm("model", "fast")
	for _, tc := range []struct {
		name, tenant string
		typ          string
		body         []byte
		status       int
		code, field  string
	}{
		{"a model outside the list", "acme", "", form("model", "smart"), 403, "model_not_allowed", ""},
		{"a model in another spelling", "acme", "", form("Model", "smart"), 403, "model_not_allowed", ""},
		{"two models", "acme", "", form("model", "fast", "model", "smart"), 400, "invalid_request", "model"},
		{"an odd model", "globex", "", form("model", "a\x00b"), 400, "invalid_request", "model"},
		{"a budget that is too small", "poor", "", form("model", "fast"), 429, "budget_exceeded", ""},
		{"JSON", "globex", "application/json", []byte(`{"model":"fast"}`), 415, "unsupported_media_type", ""},
		{"no boundary", "globex", "multipart/form-data", whole, 415, "unsupported_media_type", ""},
		{"another boundary", "globex", "multipart/form-data; boundary=other", whole, 400, "invalid_request", "body"},
		{"no end", "globex", typ, whole[:len(whole)-10], 400, "invalid_request", "body"},
		{"nothing", "globex", typ, []byte{}, 400, "invalid_request", "body"},
		{"too large", "globex", "", form("model", "fast", "prompt", strings.Repeat("x", 400_000)), 413, "payload_too_large", ""},
	} {
		for _, path := range formPaths {
			for _, chunked := range []bool{false, true} {
				t.Run(fmt.Sprint(tc.name, path, chunked), func(t *testing.T) {
					contentType := tc.typ
					if contentType == "" {
						contentType = "multipart/form-data; boundary=b"
					}
					body := io.Reader(bytes.NewReader(tc.body))
					if chunked {
						body = io.MultiReader(body) // whose length is not known
					}
					resp := harness.NewClient(c, tc.tenant, "ann").Do(http.MethodPost, path, body, "Content-Type", contentType)
					e := harness.WantFailure(t, resp, tc.status, tc.code)
					if p := e.Error.Param; tc.field != "" && (p == nil || *p != tc.field) {
						t.Errorf("the error names %v, want %q", p, tc.field)
					}
				})
			}
		}
	}
	if n := up.Count(); n != 0 {
		t.Errorf("the provider was asked %d times", n)
	}
}

// form returns a short form with the boundary b.
func form(fields ...string) []byte {
	var b strings.Builder
	for i := 0; i < len(fields); i += 2 {
		fmt.Fprintf(&b, "--b\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", fields[i], fields[i+1])
	}
	return []byte(b.String() + "--b--\r\n")
}

// TestFormsFailOver sends a form to the next target once more, from a file of which nothing
// is left.
func TestFormsFailOver(t *testing.T) {
	dir := t.TempDir()
	one := harness.NewTarget(t, "one", harness.Refuses(500, "x"))
	two := harness.NewTarget(t, "two", harness.Document(200, `{"text":"Hi"}`))
	c := harness.Start(t, tenants, failoverSite(one, two), "TMPDIR="+dir)
	contentType, body := aForm("prompt", "p")
	resp := harness.NewClient(c, "globex", "ann").Do(http.MethodPost, "/v1/audio/transcriptions", bytes.NewReader(body), "Content-Type", contentType)
	if got := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK || got != `{"text":"Hi"}` || resp.Header.Get("X-Ai-Fallback") != "true" {
		t.Errorf("%d, %v, %s", resp.StatusCode, resp.Header, got)
	}
	for i, up := range []*harness.Upstream{one, two} {
		fields, file := readForm(t, up.Last())
		if fmt.Sprint(fields) != fmt.Sprint([]string{"prompt", "p", "model", string(rune('a' + i))}) || len(file) == 0 {
			t.Errorf("target %d was sent %q", i, fields)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestFormsWithoutRoom has no folder for long forms.
func TestFormsWithoutRoom(t *testing.T) {
	up := harness.NewUpstream(t, harness.Document(200, `{"text":"Hi"}`))
	c := harness.Start(t, tenants, harness.GatewaySite(up), "TMPDIR="+t.TempDir()+"/missing")
	cl := harness.NewClient(c, "globex", "ann")
	contentType, body := aForm("model", "fast")
	harness.WantFailure(t, cl.Do(http.MethodPost, formPaths[0], bytes.NewReader(body), "Content-Type", contentType), 503, "storage_unavailable")
	if n := up.Count(); n != 0 {
		t.Errorf("the provider was asked %d times", n)
	}
	resp := cl.Do(http.MethodPost, formPaths[0], bytes.NewReader(form("model", "fast")), "Content-Type", "multipart/form-data; boundary=b")
	if got := harness.ReadAll(t, resp); resp.StatusCode != http.StatusOK {
		t.Errorf("a short one: %d %s", resp.StatusCode, got)
	}
}
