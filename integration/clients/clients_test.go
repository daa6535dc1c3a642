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

// officialClients are the clients, each as published.
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
		broken:   "", // the object in the frame
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

	// refused returns the error class for a status; broken is the class of an
	// error within a stream.
	refused func(status int) string
	broken  string

	peculiar []peculiarity
}

// peculiarity is how a client deviates, with any server.
type peculiarity int

const (
	refusalIsText   peculiarity = iota
	refusalIsLost               // with any server
	reasoningIsLost             // except reasoning_content
	totalIsAdded                // from input and output
)

// openAIErrors returns the class that OpenAI documents for a status.
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

	below string // path prefix of the gateway
	own   bool   // whether each client has its own key
	want  sight
	play  *play
}

// sight is what a client's user sees.
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

// whenever is the status of an error that may come before the answer, as 502, or
// within it.
const whenever = -1

type sightError struct {
	Class      string `json:"class"`
	Status     int    `json:"status"`
	Code       string `json:"code"`
	Message    string `json:"message"`
	RetryAfter string `json:"retryAfter"`
}

// TestClients runs unmodified official clients against the gateway, in front of
// recorded answers of real providers.
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
				t.Fatal("the client did not run this case")
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
			t.Errorf("the client read %q before it left, want a beginning of %q", got.Text, want.Text)
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

// compareUsage compares the usage. A stream reports it only on request, and the
// gateway estimates it if the provider reports none.
func (o officialClient) compareUsage(t *testing.T, do string, got, want *sightUsage) {
	t.Helper()
	switch {
	case do == "stream":
		if got != nil {
			t.Errorf("unrequested usage %+v", got)
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

// compareCalls compares tool calls. Some clients parse the arguments, which are
// then encoded again, so compare their values.
func compareCalls(t *testing.T, got, want []providertest.ToolCall) {
	t.Helper()
	same := slices.EqualFunc(got, want, func(g, w providertest.ToolCall) bool {
		var read, meant any
		if g.Arguments != w.Arguments && (json.Unmarshal([]byte(g.Arguments), &read) != nil || json.Unmarshal([]byte(w.Arguments), &meant) != nil) {
			return false
		}
		// for dialects without ids, the gateway generates them
		id := g.ID == w.ID || w.ID == "" && g.ID != ""
		return id && g.Name == w.Name && reflect.DeepEqual(read, meant)
	})
	if !same {
		t.Errorf("tool calls\n got %+v\nwant %+v", got, want)
	}
}

// compareError checks the error that a client throws, so that half an answer never
// passes for a whole one.
func (o officialClient) compareError(t *testing.T, c clientCase, got sight) {
	t.Helper()
	want := c.want.Error
	if want == nil || got.Error == nil {
		t.Fatalf("error %+v, want %+v; the client saw %+v", got.Error, want, got)
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
