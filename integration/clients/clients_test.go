package clients

import (
	"net/http"
	"slices"
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
	{
		name:     "anthropic",
		run:      runScript,
		does:     []string{"chat", "stream", "counted", "tools", "abort", "again", "patient", "models"},
		refused:  anthropicErrors,
		broken:   "APIError",
		api:      inAnthropic,
		peculiar: []peculiarity{refusalIsText, reasoningIsOutput},
	},
	{
		name:     "anthropic-go",
		run:      runAnthropicGo,
		does:     []string{"chat", "stream", "counted", "tools", "abort", "again", "patient", "models"},
		refused:  func(int) string { return "*anthropic.Error" },
		broken:   "*anthropic.Error",
		api:      inAnthropic,
		peculiar: []peculiarity{refusalIsText, reasoningIsOutput},
	},
	{
		name:     "openai-go-responses",
		run:      runOpenAIGoResponses,
		does:     []string{"chat", "stream", "tools", "abort", "again", "patient"},
		refused:  func(int) string { return "*openai.Error" },
		broken:   "*ssestream.StreamError",
		peculiar: []peculiarity{usageIsSound, usageIsAlways},
	},
	{
		name:     "openai-responses",
		run:      runScript,
		does:     []string{"chat", "stream", "counted", "tools", "abort", "again", "patient"},
		refused:  openAIErrors,
		broken:   "APIError",
		peculiar: []peculiarity{usageIsSound, usageIsAlways},
	},
	{
		name:     "agents",
		run:      runScript,
		does:     []string{"chat", "stream", "counted", "tools", "abort", "again", "patient"},
		refused:  openAIErrors,
		broken:   "APIError",
		peculiar: []peculiarity{usageIsSound, usageIsAlways, refusalIsError, finishIsLost, emptyIsNoEnd},
	},
	{
		name:     "ai-sdk-responses",
		run:      runScript,
		does:     []string{"chat", "stream", "counted", "tools", "abort", "again", "patient", "embed"},
		refused:  func(int) string { return "APICallError" },
		broken:   "", // the object in the frame
		peculiar: []peculiarity{refusalIsText, usageIsSound, usageIsAlways, refusalIsFiltered, statusIsMadeUp},
	},
}

// officialClient is a client that applications use with OpenAI or Anthropic itself.
type officialClient struct {
	name string
	run  func(t *testing.T, name string, cases []clientCase) []sight
	does []string

	// refused returns the error class for a status; broken is the class of an
	// error within a stream.
	refused func(status int) string
	broken  string

	// api returns an error in the words of the client's API; nil for OpenAI's.
	api func(sightError) sightError

	peculiar []peculiarity
}

// peculiarity is how a client deviates, with any server.
type peculiarity int

const (
	refusalIsText     peculiarity = iota
	refusalIsLost                 // with any server
	reasoningIsLost               // except reasoning_content
	totalIsAdded                  // from input and output
	reasoningIsOutput             // and not counted apart
	usageIsSound                  // as responses have it: parts are no more than the whole
	usageIsAlways                 // reported
	refusalIsError
	refusalIsFiltered // by its finish reason
	finishIsLost      // of an incomplete answer
	emptyIsNoEnd      // so that an answer without text is asked for again
	statusIsMadeUp    // of an error within a stream
)

// statusOverloaded is Anthropic's for a 503.
const statusOverloaded = 529

// inAnthropic returns an error in the words of Anthropic's API, which has types in place
// of codes.
func inAnthropic(e sightError) sightError {
	switch e.Status {
	case 0, whenever, http.StatusBadGateway:
		e.Code = "api_error"
	case http.StatusBadRequest:
		e.Code = "invalid_request_error"
	case http.StatusUnauthorized:
		e.Code = "authentication_error"
	case http.StatusForbidden:
		e.Code = "permission_error"
	case http.StatusNotFound:
		e.Code = "not_found_error"
	case http.StatusTooManyRequests:
		e.Code = "rate_limit_error"
	case http.StatusServiceUnavailable:
		e.Status, e.Code = statusOverloaded, "overloaded_error"
	}
	return e
}

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

// anthropicErrors returns the class that Anthropic documents for a status.
func anthropicErrors(status int) string {
	if status == statusOverloaded {
		return "OverloadedError"
	}
	return openAIErrors(status) // the same names
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
	Keyed   bool     `json:"keyed"`           // with an Idempotency-Key, so that the events have ids

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
		again := o.is(emptyIsNoEnd) && c.want.empty()
		if slices.Contains(o.does, c.Do) && !again {
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
