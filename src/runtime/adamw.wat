;; AdamW in one pass over memory: see adamw-kernel.ts for the formula and where the vectors are.
;; `npx vitest run src/runtime/adamw-kernel.test.ts -u` compiles it to adamw-module.ts.
(module
  (import "state" "memory" (memory 1))
  (func (export "adamw")
    (param $bytes i32) ;; length of a vector, a multiple of 16
    (param $decay1 f32) (param $gain1 f32) (param $decay2 f32) (param $gain2 f32)
    (param $eps f32) (param $rate f32) (param $keep f32)
    (local $parameter i32) (local $gradient i32) (local $first i32) (local $second i32)
    (local $g v128) (local $m v128) (local $v v128) (local $root v128)
    (local.set $gradient (local.get $bytes))
    (local.set $first (i32.add (local.get $gradient) (local.get $bytes)))
    (local.set $second (i32.add (local.get $first) (local.get $bytes)))
    (loop $next
      ;; m = decay1 * m + gain1 * g
      (local.set $g (v128.load (local.get $gradient)))
      (local.set $m (f32x4.add
        (f32x4.mul (v128.load (local.get $first)) (f32x4.splat (local.get $decay1)))
        (f32x4.mul (local.get $g) (f32x4.splat (local.get $gain1)))))
      ;; v = decay2 * v + (gain2 * g)^2
      (local.set $root (f32x4.mul (local.get $g) (f32x4.splat (local.get $gain2))))
      (local.set $v (f32x4.add
        (f32x4.mul (v128.load (local.get $second)) (f32x4.splat (local.get $decay2)))
        (f32x4.mul (local.get $root) (local.get $root))))
      ;; Denormal numbers become zero: the processor takes many times as long for them.
      (local.set $m (v128.andnot (local.get $m)
        (f32x4.lt (f32x4.abs (local.get $m)) (f32x4.splat (f32.const 0x1p-126)))))
      (local.set $v (v128.andnot (local.get $v)
        (f32x4.lt (local.get $v) (f32x4.splat (f32.const 0x1p-126)))))
      (v128.store (local.get $first) (local.get $m))
      (v128.store (local.get $second) (local.get $v))
      ;; p = keep * p - rate * (m / (sqrt(v) + eps))
      (v128.store (local.get $parameter) (f32x4.sub
        (f32x4.mul (v128.load (local.get $parameter)) (f32x4.splat (local.get $keep)))
        (f32x4.mul
          (f32x4.splat (local.get $rate))
          (f32x4.div (local.get $m)
            (f32x4.add (f32x4.sqrt (local.get $v)) (f32x4.splat (local.get $eps)))))))
      (local.set $parameter (i32.add (local.get $parameter) (i32.const 16)))
      (local.set $gradient (i32.add (local.get $gradient) (i32.const 16)))
      (local.set $first (i32.add (local.get $first) (i32.const 16)))
      (local.set $second (i32.add (local.get $second) (i32.const 16)))
      (br_if $next (i32.lt_u (local.get $parameter) (local.get $bytes))))))
