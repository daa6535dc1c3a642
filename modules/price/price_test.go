package price

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-chat/caddy-chat/modules/provider"
)

func TestCost(t *testing.T) {
	plain := Price{Input: 2, Output: 8}
	cached := Price{Input: 2, Output: 8, Cached: 0.5}
	long := Price{Input: 2, Output: 8, Cached: 0.5, LongAbove: 200_000, Long: &Price{Input: 4, Output: 12, Cached: 1}}
	written := Price{Input: 2, Output: 8, Cached: 0.2, Written: 2.5, ForAnHour: 4}
	for _, tt := range []struct {
		name  string
		price Price
		usage provider.Usage
		want  float64
	}{
		{"nothing", plain, provider.Usage{}, 0},
		{"without a price", Price{}, provider.Usage{Input: 1, Output: 1}, 0},
		{"input and output", plain, provider.Usage{Input: 1_000_000, Output: 500_000}, 6},
		{"reasoning is output", plain, provider.Usage{Output: 500_000, Reasoning: 400_000}, 4},
		{"cached input at its price", cached, provider.Usage{Input: 1_000_000, Cached: 400_000}, 1.4},
		{"cached input whose price is not known", plain, provider.Usage{Input: 1_000_000, Cached: 400_000}, 2},
		{"written input at its price", written, provider.Usage{Input: 1_000_000, Cached: 500_000, Written: 400_000}, 1.3},
		{"input written for an hour", written, provider.Usage{Input: 1_000_000, Written: 400_000, ForAnHour: 300_000}, 2.65},
		{"written input whose price is not known", cached, provider.Usage{Input: 1_000_000, Written: 400_000, ForAnHour: 300_000}, 2},
		{"not yet long", long, provider.Usage{Input: 200_000, Cached: 100_000, Output: 1000}, 0.258},
		{"long", long, provider.Usage{Input: 200_001, Cached: 100_001, Output: 1000}, 0.512001},
	} {
		if got := tt.price.Cost(tt.usage); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%s: it costs %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestOf(t *testing.T) {
	for _, tt := range []struct {
		typ, model string
		in, out    float64
	}{
		{"openai", "gpt-4o-mini", 0.15, 0.6},
		{"openai", "gpt-4o-mini-2024-07-18", 0.15, 0.6},
		{"openai", "GPT-4o-Mini", 0.15, 0.6},
		{"openai", "gpt-4.1-2031-01-02", 2, 8}, // a version that is not in the list
		{"openai", "gpt-4o-2024-05-13", 5, 15}, // one that costs something else
		{"openai", "o3", 2, 8},
		{"openai", "text-embedding-3-small", 0.02, 0},
		{"openai", "ft:gpt-4o-mini-2024-07-18:acme::abc", 0.3, 1.2},
		{"openai", "mistral-large-latest", 2, 6},
		{"openai", "deepseek-chat", 0.27, 1.1},
		{"openai", "grok-3-mini", 0.3, 0.5},
		{"openai", "command-a-03-2025", 2.5, 10},
		{"openai", "llama-3.1-8b-instant", 0.05, 0.08},
		{"openai", "openai/gpt-oss-20b", 0.075, 0.3}, // Groq's, not OpenAI's
		{"openai", "openai/gpt-4.1", 2, 8},
		{"anthropic", "claude-haiku-4-5", 1, 5},
		{"anthropic", "claude-haiku-4-5-20251001", 1, 5},
		{"anthropic", "claude-sonnet-4-20250514", 3, 15},
		{"anthropic", "claude-opus-4-1-20250805", 15, 75},
		{"gemini", "gemini-2.5-pro", 1.25, 10},
		{"gemini", "models/gemini-2.5-flash", 0.3, 2.5},
		{"gemini", "publishers/google/models/gemini-2.5-flash", 0.3, 2.5},
		{"gemini", "claude-sonnet-4@20250514", 3, 15},
		{"gemini", "gemini-embedding-001", 0.15, 0},
		{"bedrock", "amazon.nova-lite-v1:0", 0.06, 0.24},
		{"bedrock", "anthropic.claude-3-5-sonnet-20241022-v2:0", 3, 15},
		{"bedrock", "us.anthropic.claude-3-5-sonnet-20241022-v2:0", 3, 15},
		{"bedrock", "arn:aws:bedrock:us-east-1:123456789012:inference-profile/eu.anthropic.claude-3-haiku-20240307-v1:0", 0.25, 1.25},
		{"bedrock", "arn:aws:bedrock:us-east-1::foundation-model/meta.llama3-1-8b-instruct-v1:0", 0.22, 0.22},
		{"cloudflare", "@cf/meta/llama-3.2-1b-instruct", 0.027, 0.201},
		{"cloudflare", "workers-ai/@cf/meta/llama-3.2-1b-instruct", 0.027, 0.201},
		{"cloudflare", "openai/gpt-4o-mini", 0.15, 0.6},
		{"cloudflare", "google-ai-studio/gemini-2.5-flash", 0.3, 2.5},
		{"cloudflare", "anthropic/claude-haiku-4-5", 1, 5},
		{"ollama", "llama3.3", 0, 0},
		{"echo", "echo", 0, 0},
	} {
		for range 2 { // the second time it is remembered
			p, ok := Of(tt.typ, tt.model)
			if !ok || p.Input != tt.in || p.Output != tt.out {
				t.Errorf("%s of %s costs %v in and %v out, known %t, want %v and %v", tt.model, tt.typ, p.Input, p.Output, ok, tt.in, tt.out)
			}
		}
	}
}

// Where a region has a price of its own, it is another than the global one.
func TestOfRegions(t *testing.T) {
	regional, ok1 := Of("bedrock", "eu.anthropic.claude-haiku-4-5-20251001-v1:0")
	global, ok2 := Of("bedrock", "global.anthropic.claude-haiku-4-5-20251001-v1:0")
	if !ok1 || !ok2 || regional.Output <= global.Output {
		t.Errorf("regional %v %t, global %v %t", regional, ok1, global, ok2)
	}
}

// What is not known must not look free.
func TestOfTheUnknown(t *testing.T) {
	for _, tt := range [][2]string{
		{"openai", "my-own-model"}, {"openai", ""}, {"openai", "openai/"}, {"openai", "/gpt-4o"}, {"openai", "nobody/gpt-4o"},
		{"openai", "gpt-4o-"}, {"openai", "*"}, {"openai", "claude-haiku-4-5"}, {"anthropic", "gpt-4o"}, {"anthropic", "claude"},
		{"gemini", "models/"}, {"bedrock", "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc"}, {"bedrock", "arn:"},
		{"nosuch", "gpt-4o"}, {"", "gpt-4o"}, {"cloudflare", "@"},
	} {
		for range 2 {
			if p, ok := Of(tt[0], tt[1]); ok {
				t.Errorf("%q of %q costs %+v", tt[1], tt[0], p)
			}
		}
	}
}

// Names that clients make up do not fill the memory.
func TestLookupsAreBounded(t *testing.T) {
	for i := range 2 * maxLookups {
		Of("openai", "made-up-"+strconv.Itoa(i))
	}
	Of("openai", strings.Repeat("x", maxName+1))
	if n := len(lookups.known); n != maxLookups {
		t.Errorf("%d look-ups are remembered, want %d", n, maxLookups)
	}
	for s := range lookups.known {
		if len(s.model) > maxName {
			t.Errorf("a name of %d bytes is remembered", len(s.model))
		}
	}
	if p, ok := Of("openai", "gpt-4o-mini"); !ok || p.Input != 0.15 {
		t.Errorf("got %+v, %t", p, ok)
	}
}

func BenchmarkOf(b *testing.B) {
	for _, model := range []string{"gpt-4o-mini-2024-07-18", "my-own-model"} {
		b.Run(model, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Of("openai", model)
			}
		})
		b.Run(model+", anew", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				look("openai", model)
			}
		})
	}
}

func TestCachedAndLong(t *testing.T) {
	p, _ := Of("gemini", "gemini-2.5-pro")
	if p.Cached != 0.125 || p.LongAbove != 200_000 || p.Long == nil || p.Long.Output != 15 || p.Long.Cached != 0.25 {
		t.Errorf("got %+v, %+v", p, p.Long)
	}
}

func TestFile(t *testing.T) {
	var doc document
	d := json.NewDecoder(strings.NewReader(string(file)))
	if err := d.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	if _, err := time.Parse(time.DateOnly, doc.Date); err != nil || doc.Source == "" || !strings.Contains(doc.License, "MIT") {
		t.Errorf("date %q, source %q, licence %q", doc.Date, doc.Source, doc.License)
	}
	for typ, list := range vendors {
		for _, v := range list {
			if len(doc.Vendors[v]) == 0 {
				t.Errorf("%s has no prices of %s", typ, v)
			}
		}
	}
	for vendor, entries := range doc.Vendors {
		for _, e := range entries {
			if len(e.Names) == 0 || e.Input <= 0 || e.Output < 0 || e.Cached < 0 || e.Cached > e.Input || e.Input > 1000 || e.Output > 1000 {
				t.Errorf("%s: %+v", vendor, e)
			}
			for _, n := range e.Names {
				if strings.Trim(n, "*") == "" || strings.ToLower(n) != n || len(n) < 2 {
					t.Errorf("%s: the name %q", vendor, n)
				}
			}
		}
	}
}
