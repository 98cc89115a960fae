#!/usr/bin/env bash
# Makes tests/fuzz/corpus anew: small models and requests written by a program, and the project's own
# examples of everything that is text.
set -euo pipefail
source "$(dirname "$0")/common.sh"
cd "$ROOT"

corpus=tests/fuzz/corpus
scripts/build.sh release fuzz_seeds
rm -rf "$corpus"
build/release/tests/fuzz/fuzz_seeds "$corpus"

# copy TARGET FILE...
copy() {
  local target=$1
  shift
  mkdir -p "$corpus/$target"
  cp "$@" "$corpus/$target/"
}
# Without comments: seeds that are short are mutated to more effect.
copy_yaml() {
  local target=$1 file
  shift
  mkdir -p "$corpus/$target"
  for file in "$@"; do
    sed -E '/^ *#/d; s/ +# .*//; /^$/d' "$file" >"$corpus/$target/$(basename "$file")"
  done
}
# write TARGET NAME TEXT
write() {
  mkdir -p "$corpus/$1"
  printf '%s' "$3" >"$corpus/$1/$2"
}

copy_yaml server_config deploy/server.example.yaml deploy/quickstart.yaml
copy_yaml slo deploy/slo.example.yaml autotuner/simulator/examples/capacity.slo.yaml
copy_yaml tune_spec autotuner/examples/*.yaml
copy chat_template tests/text/data/*.jinja
for template in "$corpus"/chat_template/*; do
  printf '=====\nBe brief.\n=====\nHi\n=====\nHello' >>"$template"
done

# The head and two rows of a table that the tuner made.
sed -n '1,/^rows:/p' deploy/tables/smollm2-135m.yaml | sed '/^ *#/d' >"$corpus/table"
sed -n '/^rows:/,$p' deploy/tables/smollm2-135m.yaml | awk '/^  - /{n++} n>=1 && n<=2' >>"$corpus/table"
mkdir -p "$corpus/pareto_table" && mv "$corpus/table" "$corpus/pareto_table/two-rows.yaml"

write identities two.yaml 'identities:
  - name: team-a
    token_sha256: [9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08]
    classes: [default, gold]
  - name: gateway
    certificates: [gateway.example]
    admin: true
'
write kv_config full 'k=int4-channel v=int4-token-g64 sink=16 recent=128 chunk=256 krot=balanced vrot=hadamard kcenter=static kclip=0.96 vclip=auto layers=0:bf16/bf16,3:int8-token/int4-token'
write kv_config short 'k=int2-token-g32 v=fp8'
write journal two-lines '{"key":"a1","what":"accuracy","values":[0.5,null,1e300]}
{"key":"b2","what":"speed","failed":"DEVICE_MEMORY"}
'
write journal cut '{"key":"a1","what":"","values":[1]}
{"key":"b2","wh'
write trace jsonl '{"arrival":0.5,"prompt_tokens":100,"output_tokens":20,"class":"gold","accuracy":0.97}
{"arrival":0.25,"prompt_tokens":7,"output_tokens":2,"max_tokens":9,"budget_bytes":"64MiB","deadline":3}
=====
class=gold rate=2 burst=4 prompt=lognormal:4000:0.8 output=256 accuracy=0.97 objective=memory'
write trace csv 'arrival,prompt_tokens,output_tokens,objective
0,100,20,memory
1.5,7,2,
=====
rate=1 prompt=uniform:1:9 output=5 config=bf16'
write openai_request chat '{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"Hi"}]}],"temperature":0.5,"max_completion_tokens":9,"stop":["\n"],"stream":true,"stream_options":{"include_usage":true},"logprobs":true,"top_logprobs":2}'
write openai_request completion '{"prompt":"Hi","max_tokens":9,"logit_bias":{"50":-100},"seed":7,"n":2,"kv_accuracy_target":0.9,"kv_objective":"memory","service_class":"gold"}'
du -sh "$corpus"
