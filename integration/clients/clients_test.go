package clients

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// officialClients are the clients, each as it is published.
var officialClients = []officialClient{
	{
		name:    "openai",
		run:     runScript,
		does:    []string{"chat", "stream", "counted", "tools", "abort", "again", "patient", "models", "embed"},
		refused: openAIErrors,
		broken:  "APIError",
	},
	{
		name:     "ai-sdk",
		run:      runScript,
		does:     []string{"chat", "stream", "counted", "tools", "abort", "again", "patient", "embed"},
		refused:  func(int) string { return "APICallError" },
		broken:   "", // the frame's own object
		peculiar: []peculiarity{refusalIsText, totalIsAdded},
	},
	{
		name:     "langchain",
		run:      runScript,
		does:     []string{"chat", "stream", "counted", "tools", "abort", "again", "patient", "embed"},
		refused:  openAIErrors,
		broken:   "APIError",
		peculiar: []peculiarity{refusalIsLost, reasoningIsLost},
	},
	{
		name:    "openai-go",
		run:     runOpenAIGo,
		does:    []string{"chat", "stream", "counted", "tools", "abort", "again", "patient", "models", "embed"},
		refused: func(int) string { return "*openai.Error" },
		broken:  "*ssestream.StreamError",
	},
}

// officialClient is a client that applications use with OpenAI itself.
type officialClient struct {
	name string
	run  func(t *testing.T, name string, cases []clientCase) []sight
	does []string

	// refused names the class of error for a status, broken that of an error
	// in the middle of a stream.
	refused func(status int) string
	broken  string

	peculiar []peculiarity
}

// peculiarity is something that a client makes of every server's answers.
type peculiarity int

const (
	refusalIsText   peculiarity = iota
	refusalIsLost               // it is told of nobody's
	reasoningIsLost             // but for reasoning_content
	totalIsAdded                // of input and output
)

// openAIErrors are the classes that OpenAI documents.
func openAIErrors(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "BadRequestError"
	case http.StatusUnauthorized:
		return "AuthenticationError"
	case http.StatusForbidden:
		return "PermissionDeniedError"
	case http.StatusNotFound:
		return "NotFoundError"
	case http.StatusTooManyRequests:
		return "RateLimitError"
	}
	if status >= http.StatusInternalServerError {
		return "InternalServerError"
	}
	return "APIError"
}

// clientCase is something that a client does.
type clientCase struct {
	Name    string   `json:"name"`
	Do      string   `json:"do"`
	BaseURL string   `json:"baseURL"`
	Model   string   `json:"model"`
	Key     string   `json:"key"`
	User    string   `json:"user"`
	Retries int      `json:"retries"`
	Tools   []string `json:"tools,omitempty"` // that the client has
	Input   []string `json:"input,omitempty"` // to embed

	below string // path of the gateway
	own   bool   // the key is for this client alone
	want  sight
	play  *play
}

// sight is what a client's user gets to see.
type sight struct {
	Name      string                  `json:"name"`
	Text      string                  `json:"text"`
	Reasoning string                  `json:"reasoning"`
	Refusal   string                  `json:"refusal"`
	ToolCalls []providertest.ToolCall `json:"toolCalls"`
	Ran       int                     `json:"ran"` // tools
	Finish    string                  `json:"finish"`
	Usage     *sightUsage             `json:"usage"`
	Models    []string                `json:"models"`
	Vectors   [][]float64             `json:"vectors"`
	Error     *sightError             `json:"error"`
}

type sightUsage struct {
	Input     int64 `json:"input"`
	Output    int64 `json:"output"`
	Total     int64 `json:"total"`
	Cached    int64 `json:"cached"`
	Reasoning int64 `json:"reasoning"`
}

// whenever is the status of an error that comes before the answer has begun,
// as 502, or later.
const whenever = -1

type sightError struct {
	Class      string `json:"class"`
	Status     int    `json:"status"`
	Code       string `json:"code"`
	Message    string `json:"message"`
	RetryAfter string `json:"retryAfter"`
}

// TestClients lets official clients, unmodified, talk to the gateway in front
// of what real providers said.
func TestClients(t *testing.T) {
	t.Parallel()
	up := newReplays(t)
	cases := clientCases(t, up)
	c := harness.Start(t, clientTenants(), clientSite(up))
	openCircuit(t, c)
	for _, client := range officialClients {
		t.Run(client.name, func(t *testing.T) {
			t.Parallel()
			client.test(t, c.URL, cases)
		})
	}
}

func (o officialClient) test(t *testing.T, url string, cases []clientCase) {
	var mine []clientCase
	for _, c := range cases {
		if slices.Contains(o.does, c.Do) {
			c.BaseURL, c.User = url+c.below+"/v1", o.name
			if c.own {
				c.Key = o.name + "-" + c.Key
			}
			mine = append(mine, c)
		}
	}
	seen := make(map[string]sight)
	for _, s := range o.run(t, o.name, mine) {
		seen[s.Name] = s
	}
	for _, c := range mine {
		t.Run(c.Name, func(t *testing.T) {
			s, ok := seen[c.Name]
			if !ok {
				t.Fatal("the client did not come to this")
			}
			o.compare(t, c, s)
		})
	}
}

// compare checks what a client saw.
func (o officialClient) compare(t *testing.T, c clientCase, got sight) {
	t.Helper()
	want := c.want
	if want.Error != nil || got.Error != nil {
		o.compareError(t, c, got)
		return
	}
	if c.Do == "abort" {
		if got.Text+got.Reasoning == "" || !strings.HasPrefix(want.Text, got.Text) || !strings.HasPrefix(want.Reasoning, got.Reasoning) {
			t.Errorf("before the client went away came %q, want a beginning of %q", got.Text, want.Text)
		}
		c.play.wantEnded(t)
		return
	}
	switch {
	case o.is(refusalIsText):
		want.Text, want.Refusal = want.Text+want.Refusal, ""
	case o.is(refusalIsLost):
		want.Refusal = ""
	}
	wantSeen(t, "text", got.Text, want.Text)
	wantSeen(t, "refusal", got.Refusal, want.Refusal)
	if c.Do != "tools" && (!o.is(reasoningIsLost) || got.Reasoning != "") {
		wantSeen(t, "reasoning", got.Reasoning, want.Reasoning)
	}
	wantSeen(t, "finish reason", got.Finish, want.Finish)
	wantSeen(t, "tools that ran", got.Ran, want.Ran)
	wantSeen(t, "models", got.Models, want.Models)
	wantSeen(t, "vectors", got.Vectors, want.Vectors)
	compareCalls(t, got.ToolCalls, want.ToolCalls)
	switch c.Do {
	case "tools":
		c.play.wantToldResult(t, want.ToolCalls)
	case "chat", "stream", "counted":
		o.compareUsage(t, c.Do, got.Usage, want.Usage)
	}
}

func (o officialClient) is(p peculiarity) bool { return slices.Contains(o.peculiar, p) }

// compareUsage compares what was used. In a stream it is told to who asks;
// where the provider does not count, the gateway does.
func (o officialClient) compareUsage(t *testing.T, do string, got, want *sightUsage) {
	t.Helper()
	switch {
	case do == "stream":
		if got != nil {
			t.Errorf("usage %+v, and nobody asked", got)
		}
	case got == nil:
		t.Error("no usage")
	case want == nil:
		if got.Input == 0 || got.Output == 0 || got.Total != got.Input+got.Output {
			t.Errorf("usage %+v, want an estimate", got)
		}
	default:
		meant := *want
		if o.is(totalIsAdded) {
			meant.Total = meant.Input + meant.Output
		}
		wantSeen(t, "usage", *got, meant)
	}
}

func wantSeen(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s\n got %+v\nwant %+v", what, got, want)
	}
}

// compareCalls compares tool calls; some clients hand out their arguments
// read, and they are written anew here.
func compareCalls(t *testing.T, got, want []providertest.ToolCall) {
	t.Helper()
	same := slices.EqualFunc(got, want, func(g, w providertest.ToolCall) bool {
		var read, meant any
		if g.Arguments != w.Arguments && (json.Unmarshal([]byte(g.Arguments), &read) != nil || json.Unmarshal([]byte(w.Arguments), &meant) != nil) {
			return false
		}
		// some dialects have no ids, and they are made up
		id := g.ID == w.ID || w.ID == "" && g.ID != ""
		return id && g.Name == w.Name && reflect.DeepEqual(read, meant)
	})
	if !same {
		t.Errorf("tool calls\n got %+v\nwant %+v", got, want)
	}
}

// compareError checks that a client throws, and what: half an answer is
// never taken for a whole one.
func (o officialClient) compareError(t *testing.T, c clientCase, got sight) {
	t.Helper()
	want := c.want.Error
	if want == nil || got.Error == nil {
		t.Fatalf("error %+v, want %+v; seen is %+v", got.Error, want, got)
	}
	g, status := got.Error, want.Status
	if status == whenever && g.Status == http.StatusBadGateway && got.Text == "" && len(got.ToolCalls) == 0 {
		status = g.Status
	} else if status == whenever {
		status = 0
	}
	class := o.broken
	if status != 0 {
		class = o.refused(status)
	}
	if g.Class != class || g.Status != status || g.Code != want.Code || g.Message == "" {
		t.Errorf("error %+v, want %s of status %d, code %s", g, class, status, want.Code)
	}
	if (g.RetryAfter != "") != (want.RetryAfter != "") {
		t.Errorf("Retry-After %q, want %q", g.RetryAfter, want.RetryAfter)
	}
	if !strings.HasPrefix(c.want.Text, got.Text) {
		t.Errorf("before the error came %q, want a beginning of %q", got.Text, c.want.Text)
	}
}
