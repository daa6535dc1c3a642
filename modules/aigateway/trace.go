package aigateway

import (
	"context"
	"net/url"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/caddy-chat/caddy-chat/modules/chat"
)

// Values of gen_ai.operation.name.
const (
	operationChat       = "chat"
	operationEmbeddings = "embeddings"
	operationModeration = "moderation"
	operationRerank     = "rerank"
	operationText       = "text_completion"
	operationGenerate   = "generate_content" // images and sound
)

// startSpan starts the span of an attempt, by OpenTelemetry's conventions for
// generative AI. Its parent is the span of Caddy's tracing handler. Without
// that handler, the span records nothing.
func (a *attempt) startSpan() (context.Context, trace.Span) {
	tracer := trace.SpanFromContext(a.ctx).TracerProvider().Tracer("github.com/caddy-chat/caddy-chat")
	operation := a.c.req.operation
	ctx, span := tracer.Start(a.ctx, operation+" "+a.hop.Target.Model, trace.WithSpanKind(trace.SpanKindClient))
	if !span.IsRecording() {
		return ctx, span
	}
	span.SetAttributes(
		attribute.String("gen_ai.operation.name", operation),
		attribute.String("gen_ai.provider.name", a.c.h.systems[a.hop.Target.Provider]),
		attribute.String("gen_ai.request.model", a.hop.Target.Model),
	)
	if id := a.c.x.Rec.Session; id != "" {
		span.SetAttributes(attribute.String("gen_ai.conversation.id", id))
	}
	return ctx, span
}

// endSpan ends the attempt's span. It leaves the error's text to the log, since
// that may quote the conversation.
func (a *attempt) endSpan(err error) {
	defer a.span.End()
	if !a.span.IsRecording() {
		return
	}
	if u, ok := a.counted(); ok {
		a.span.SetAttributes(attribute.Int64("gen_ai.usage.input_tokens", u.Input))
		if a.c.req.operation != operationEmbeddings {
			a.span.SetAttributes(attribute.Int64("gen_ai.usage.output_tokens", u.Output))
		}
	}
	if a.model != "" {
		a.span.SetAttributes(attribute.String("gen_ai.response.model", a.model))
	}
	if a.finish != "" {
		a.span.SetAttributes(attribute.StringSlice("gen_ai.response.finish_reasons", []string{a.finish}))
	}
	if err != nil && a.result != chat.AttemptAborted {
		a.span.SetAttributes(attribute.String("error.type", a.result))
		a.span.SetStatus(codes.Error, a.result)
	}
}

// systems maps provider types to their gen_ai.provider.name, if the two differ,
// see https://github.com/open-telemetry/semantic-conventions-genai. A type that
// OpenTelemetry does not list keeps its own name.
var systems = map[string]string{
	"bedrock": "aws.bedrock",
	"gemini":  "gcp.gemini",
}

// systemHosts recognizes providers by host, because several share a type. A
// leading dot or hyphen matches any name before it.
var systemHosts = []struct{ host, system string }{
	{".openai.azure.com", "azure.ai.openai"},
	{".cognitiveservices.azure.com", "azure.ai.openai"},
	{".services.ai.azure.com", "azure.ai.openai"},
	{"aiplatform.googleapis.com", "gcp.vertex_ai"},
	{"-aiplatform.googleapis.com", "gcp.vertex_ai"},
	{"generativelanguage.googleapis.com", "gcp.gemini"},
	{"api.cohere.ai", "cohere"},
	{"api.deepseek.com", "deepseek"},
	{"api.groq.com", "groq"},
	{"api.mistral.ai", "mistral_ai"},
	{"api.perplexity.ai", "perplexity"},
	{"api.x.ai", "x_ai"},
}

// baseOf returns a provider's base URL, or an empty string.
func baseOf(mod any) string {
	if m, ok := mod.(interface{ Base() string }); ok {
		return m.Base()
	}
	return ""
}

// systemOf returns OpenTelemetry's name for a provider, by its type and its base
// URL, which may be empty.
func systemOf(kind, base string) string {
	if u, err := url.Parse(base); err == nil {
		host := strings.ToLower(u.Hostname())
		for _, s := range systemHosts {
			if host == s.host || strings.ContainsAny(s.host[:1], ".-") && strings.HasSuffix(host, s.host) {
				return s.system
			}
		}
	}
	if name, ok := systems[kind]; ok {
		return name
	}
	return kind
}
