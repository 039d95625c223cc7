import { expect, test } from 'vitest'
import { createAutoregression, learnAutoregression, predict } from './autoregression.ts'

test('follows a wave whose period nobody told it', () => {
  const model = createAutoregression()
  let worst = 0
  for (let index = 0; index < 1_000; index++) {
    const value = Math.sin((2 * Math.PI * index) / 37.3)
    const error = value - predict(model)
    if (index > 500) worst = Math.max(worst, Math.abs(error))
    learnAutoregression(model, value, error)
  }
  expect(worst).toBeLessThan(0.01)
})

test('stays finite where nothing happens, and after that too', () => {
  const model = createAutoregression()
  for (let index = 0; index < 20_000; index++) learnAutoregression(model, 0, 0 - predict(model))
  for (let index = 0; index < 200; index++) {
    const value = index % 2
    learnAutoregression(model, value, Math.max(-3, Math.min(3, value - predict(model))))
  }
  expect(Number.isFinite(predict(model))).toBe(true)
  expect(Math.abs(predict(model))).toBeLessThan(10)
})
