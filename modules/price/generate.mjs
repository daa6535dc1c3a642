// Makes prices.json from the npm package @pydantic/genai-prices (MIT). It needs
// no network and no packages:
//
//	npm pack @pydantic/genai-prices && tar xzf pydantic-genai-prices-*.tgz
//	node generate.mjs package 2026-11-22 >prices.json
//
// The second argument is the day of the prices: of those that change with
// time the ones of that day are taken.
import fs from 'node:fs';
import path from 'node:path';
import vm from 'node:vm';

const [dir, date] = process.argv.slice(2);
if (!dir || !/^\d{4}-\d{2}-\d{2}$/.test(date ?? '')) {
	console.error('usage: node generate.mjs <folder of the unpacked package> <yyyy-mm-dd>');
	process.exit(2);
}

// Our name of a vendor, and the package's.
const vendors = {
	openai: 'openai', anthropic: 'anthropic', gemini: 'google', mistral: 'mistral', deepseek: 'deepseek',
	groq: 'groq', xai: 'x-ai', cohere: 'cohere', bedrock: 'aws', cloudflare: 'cloudflare',
};

// What is neither chat nor an embedding, or is paid for by other things than
// tokens of text.
const other = /audio|dall-e|distilbert|guard|image|indictrans|live|m2m100|moderation|ocr|omni|realtime|rerank|safeguard|sonic|sora|speech|transcribe|tts|voice|voxtral|whisper/i;

// The package exports no data: it is the first array of its program.
function read(file) {
	const src = fs.readFileSync(file, 'utf8');
	const begin = /^const \w+ = (?=\[\s*\{\s*id: )/m.exec(src);
	const end = begin ? src.indexOf('\n]', begin.index) : -1;
	if (end < 0) throw new Error(`${file}: the data is not where it used to be`);
	return vm.runInNewContext(`(${src.slice(begin.index + begin[0].length, end + 2)})`);
}

// In force are the dearest of those that change with the hour, and of those
// with a day to begin the last that has begun.
function inForce(prices) {
	if (!Array.isArray(prices)) return prices;
	const begins = (p) => p.constraint?.start_date ?? '';
	const begun = prices.filter((p) => begins(p) <= date);
	const last = begun.map(begins).sort().pop();
	const base = (p) => p.prices.output_mtok?.base ?? p.prices.output_mtok ?? 0;
	return begun
		.filter((p) => begins(p) === last || p.constraint?.type === 'time_of_date')
		.reduce((a, b) => (base(b) > base(a) ? b : a)).prices;
}

// A name, with * at its ends for any characters. Clauses that only a regular
// expression can say are names with a date, which the lookup takes off.
function names(match) {
	if (match.or) return match.or.flatMap(names);
	if (match.and) return match.and.flatMap(names);
	// regions of Bedrock, which the lookup takes off, too
	const text = (s) => s.toLowerCase().replace(/^(us|eu|au|jp|in|ca|apac)\./, '').replaceAll(/(?<=.)@/g, '-');
	if (match.equals) return [text(match.equals)];
	if (match.starts_with) return [`${text(match.starts_with)}*`];
	if (match.ends_with) return [`*${text(match.ends_with)}`];
	if (match.contains) return [`*${text(match.contains)}*`];
	return [];
}

function rates(prices, pick) {
	const r = {
		input: pick(prices.input_mtok), cached: pick(prices.cache_read_mtok),
		written: pick(prices.cache_write_mtok), writtenForAnHour: pick(prices.cache_write_1h_mtok), output: pick(prices.output_mtok),
	};
	return Object.fromEntries(Object.entries(r).filter(([, v]) => v !== undefined));
}

function entry(model) {
	const prices = inForce(model.prices);
	if (other.test(model.id) || prices.input_mtok === undefined) return [];
	const e = { names: [...new Set(names(model.match))].sort(), ...rates(prices, (p) => p?.base ?? p) };
	const tiers = prices.input_mtok.tiers ?? [];
	if (tiers.length > 1) throw new Error(`${model.id}: more than two tiers`);
	if (tiers.length === 1) e.long = { above: tiers[0].start, ...rates(prices, (p) => p?.tiers?.[0].price ?? p?.base ?? p) };
	return e.names.length > 0 ? [e] : [];
}

const { name, version } = JSON.parse(fs.readFileSync(path.join(dir, 'package.json'), 'utf8'));
const license = fs.readFileSync(path.join(dir, 'LICENSE'), 'utf8').trim();
const data = read(path.join(dir, 'dist', 'index.js'));
const lines = Object.entries(vendors).map(([ours, theirs]) => {
	const models = data.find((p) => p.id === theirs).models.flatMap(entry);
	return `\t\t${JSON.stringify(ours)}: [\n${models.map((m) => `\t\t\t${JSON.stringify(m)}`).join(',\n')}\n\t\t]`;
});
process.stdout.write(`{
	"comment": "US dollars a million tokens, made by generate.mjs",
	"date": ${JSON.stringify(date)},
	"source": ${JSON.stringify(`npm ${name} ${version}, https://github.com/pydantic/genai-prices`)},
	"license": ${JSON.stringify(license)},
	"vendors": {\n${lines.join(',\n')}\n\t}
}
`);
